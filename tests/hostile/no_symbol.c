/* no_symbol.c: a library that is no plugin. */
int moonwalk_plugins(void);
int moonwalk_plugins(void) { return 0; }
