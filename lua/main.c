/* main.c: the command `moonwalk`: scripts, code on the command line, commands that are written in
 * Lua, and the prompt. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "face.h"
#include "interrupt.h"

#define COMMANDS "moonwalk.commands." /* modules of this name are the command's subcommands */

static const char usage[] =
    "usage: moonwalk [OPTIONS] [SCRIPT [ARGS]]\n"
    "       moonwalk COMMAND [ARGS]\n"
    "\n"
    "SCRIPT is a Lua file, or - for standard input; without one there is a prompt.\n"
    "\n"
    "  -e CODE        run CODE, in which `mw` is Moonwalk\n"
    "  -i             stay at the prompt, with the script's variables\n"
    "  --threads N    use N threads; the results have the same bits whatever N is\n"
    "  --version      print the version\n"
    "  --help         print this\n";

/* ---- running code ------------------------------------------------------------------------ */

/* A traceback helps when the user's code called its way there; a single line is in the message. */
static bool wants_traceback(lua_State *L) {
  lua_Debug frame;
  int lines = 0;
  for (int level = 1; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    lines += frame.currentline > 0 && strncmp(frame.source, FACE_CHUNK, strlen(FACE_CHUNK)) != 0;
  }
  return lines > 1;
}

static int on_error(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (!message) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    message = lua_pushfstring(L, "the error object is a %s value", luaL_typename(L, 1));
  }
  if (wants_traceback(L)) luaL_traceback(L, L, message, 1);
  else lua_pushstring(L, message);
  return 1;
}

/* Calls the function below its n arguments. Reports what goes wrong and returns false. */
static bool protected_call(lua_State *L, int n) {
  int function = lua_gettop(L) - n;
  lua_pushcfunction(L, on_error);
  lua_insert(L, function);
  interrupt_begin(L, INTERRUPT_ENDS);
  int status = lua_pcall(L, n, 0, function);
  interrupt_end(L);
  lua_remove(L, function);
  if (status == LUA_OK) return true;
  fflush(stdout);
  const char *message = lua_tostring(L, -1);
  fprintf(stderr, "moonwalk: %s\n", message ? message : "unknown error");
  lua_pop(L, 1);
  return false;
}

/* Runs the chunk that was loaded with a status, with arguments argv[0 .. n-1]. */
static bool run_chunk(lua_State *L, int status, char **argv, int n) {
  if (status != LUA_OK) {
    fprintf(stderr, "moonwalk: %s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
    return false;
  }
  luaL_checkstack(L, n + 4, "too many arguments");
  for (int i = 0; i < n; i++) lua_pushstring(L, argv[i]);
  return protected_call(L, n);
}

/* The global table `arg`: the script at 0, its arguments from 1, what came before below 0. */
static void set_arg(lua_State *L, char **argv, int argc, int script) {
  lua_createtable(L, argc, 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static void set_global_mw(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "moonwalk");
  lua_setglobal(L, "mw");
  lua_pop(L, 1);
}

/* ---- scripts and commands ---------------------------------------------------------------- */

static const face_module *find_command(const char *word) {
  size_t prefix = strlen(COMMANDS);
  for (const face_module *m = face_modules; m->name; m++)
    if (strncmp(m->name, COMMANDS, prefix) == 0 && strcmp(m->name + prefix, word) == 0) return m;
  return NULL;
}

static void print_commands(FILE *file, const char *separator) {
  size_t prefix = strlen(COMMANDS);
  bool any = false;
  for (const face_module *m = face_modules; m->name; m++) {
    if (strncmp(m->name, COMMANDS, prefix) != 0) continue;
    fprintf(file, "%s%s", any ? separator : "", m->name + prefix);
    any = true;
  }
  fprintf(file, "%s\n", any ? "" : "none");
}

static bool looks_like_script(const char *word) {
  size_t length = strlen(word);
  struct stat status;
  return strcmp(word, "-") == 0 || strchr(word, '/') ||
         (length > 4 && strcmp(word + length - 4, ".lua") == 0) ||
         (stat(word, &status) == 0 && S_ISREG(status.st_mode));
}

/* Pushes what a plugin of that name brings as a command, looked for where plugins are; see
 * lua/moonwalk/plugin.lua. False when there is none; else a status, as of loading a chunk. */
static bool find_plugin_command(lua_State *L, const char *word, int *status) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonwalk.plugin");
  *status = lua_pcall(L, 1, 1, 0);
  if (*status == LUA_OK) {
    lua_getfield(L, -1, "find_command");
    lua_remove(L, -2);
    lua_pushstring(L, word);
    *status = lua_pcall(L, 1, 1, 0);
  }
  if (*status != LUA_OK || !lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* argv[at] is a command, a script, or neither. */
static bool run_word(lua_State *L, char **argv, int argc, int at) {
  const char *word = argv[at];
  const face_module *command = find_command(word);
  int status;
  if (command) {
    status = luaL_loadbufferx(L, command->text, command->size, command->chunk, "t");
  } else if (looks_like_script(word)) {
    status = luaL_loadfile(L, strcmp(word, "-") == 0 ? NULL : word);
  } else if (!find_plugin_command(L, word, &status)) {
    fprintf(stderr, "moonwalk: there is no command or file '%s'; the commands are: ", word);
    print_commands(stderr, ", ");
    return false;
  }
  set_arg(L, argv, argc, at);
  return run_chunk(L, status, argv + at + 1, argc - at - 1);
}

/* ---- the prompt -------------------------------------------------------------------------- */

/* require("moonwalk.prompt").run(script, ...), with the script's arguments; without a script none
 * is run first. Ctrl-C ends lines and never the prompt. */
static bool run_prompt(lua_State *L, char **argv, int n) {
  interrupt_keep();
  lua_pushcfunction(L, on_error);
  const int handler = lua_gettop(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonwalk.prompt");
  int status = lua_pcall(L, 1, 1, handler);
  if (status == LUA_OK) {
    lua_getfield(L, -1, "run");
    luaL_checkstack(L, n + 4, "too many arguments");
    for (int i = 0; i < n; i++) lua_pushstring(L, argv[i]);
    status = lua_pcall(L, n, 0, handler);
  }
  if (status != LUA_OK) fprintf(stderr, "moonwalk: %s\n", lua_tostring(L, -1));
  return status == LUA_OK;
}

/* ---- the command line -------------------------------------------------------------------- */

typedef struct command_line {
  char **argv;
  int argc;
  int word; /* where the script or command is; argc when there is none */
  bool has_code;
  bool stays;    /* at the prompt */
  int threads;   /* 0: as the context chooses */
  bool finished; /* nothing is left to do */
  bool failed;
} command_line;

static void refuse(command_line *line, const char *problem, const char *what) {
  fprintf(stderr, "moonwalk: %s %s; see moonwalk --help\n", problem, what);
  line->finished = line->failed = true;
}

/* The value of the option at *i, given behind it or behind a "="; NULL when it is missing. */
static const char *option_value(const command_line *line, int *i, const char *name) {
  size_t length = strlen(name);
  if (line->argv[*i][length] == '=') return line->argv[*i] + length + 1;
  return *i + 1 < line->argc ? line->argv[++*i] : NULL;
}

static bool is_option(const char *text, const char *name) {
  size_t length = strlen(name);
  return strncmp(text, name, length) == 0 && (text[length] == '\0' || text[length] == '=');
}

static void read_options(command_line *line) {
  int i = 1;
  for (; i < line->argc && line->argv[i][0] == '-' && line->argv[i][1]; i++) {
    const char *option = line->argv[i];
    if (strcmp(option, "--version") == 0) {
      printf("moonwalk %s\n", MW_VERSION);
      line->finished = true;
    } else if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
      printf("%s\nCommands: ", usage);
      print_commands(stdout, ", ");
      line->finished = true;
    } else if (strcmp(option, "-e") == 0) {
      line->has_code = true;
      if (++i >= line->argc) refuse(line, "-e wants", "code");
    } else if (strcmp(option, "-i") == 0) {
      line->stays = true;
    } else if (is_option(option, "--threads")) {
      const char *value = option_value(line, &i, "--threads");
      char *end = NULL;
      long n = value ? strtol(value, &end, 10) : 0;
      if (n < 1 || n > 1024 || *end)
        refuse(line, "--threads wants a number from 1 to 1024, not", value ? value : "nothing");
      line->threads = (int)n;
    } else {
      refuse(line, "there is no option", option);
    }
    if (line->finished) return;
  }
  line->word = i;
}

static bool run_line(lua_State *L, const command_line *line) {
  set_arg(L, line->argv, line->argc, line->word < line->argc ? line->word : 0);
  if (line->has_code) set_global_mw(L);
  for (int i = 1; i < line->word; i++) {
    if (strcmp(line->argv[i], "-e") != 0) continue;
    const char *code = line->argv[++i];
    int status = luaL_loadbufferx(L, code, strlen(code), "=(command line)", "t");
    if (!run_chunk(L, status, NULL, 0)) return false;
  }
  if (line->stays) return run_prompt(L, line->argv + line->word, line->argc - line->word);
  if (line->word < line->argc) return run_word(L, line->argv, line->argc, line->word);
  if (line->has_code) return true;
  if (!isatty(STDIN_FILENO)) return run_chunk(L, luaL_loadfile(L, NULL), NULL, 0);
  return run_prompt(L, NULL, 0);
}

/* In a protected call, because Lua's memory may be short anywhere. */
static int protected_main(lua_State *L) {
  const command_line *line = lua_touserdata(L, 1);
  luaL_openlibs(L);
  lua_gc(L, LUA_GCGEN, 0, 0); /* as the interpreter lua has it */
  luaL_requiref(L, "moonwalk", luaopen_moonwalk, 0);
  if (line->threads) mw_threads_set(face_context(L), line->threads);
  lua_settop(L, 0);
  lua_pushboolean(L, run_line(L, line));
  return 1;
}

int main(int argc, char **argv) {
  command_line line = {.argv = argv, .argc = argc, .word = argc};
  read_options(&line);
  if (line.finished) return line.failed;
  setlocale(LC_CTYPE, ""); /* which characters a terminal shows; numbers stay as they are */
  face_allocator *allocator;
  lua_State *L = face_state_new(&allocator);
  if (!L) return fprintf(stderr, "moonwalk: out of memory\n"), 1;
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, &line);
  int status = lua_pcall(L, 1, 1, 0);
  if (status != LUA_OK) fprintf(stderr, "moonwalk: %s\n", lua_tostring(L, -1));
  bool succeeded = status == LUA_OK && lua_toboolean(L, -1);
  face_state_close(L, allocator);
  if (fflush(stdout) || ferror(stdout)) {
    fprintf(stderr, "moonwalk: cannot write to standard output\n");
    succeeded = false;
  }
  return succeeded ? 0 : 1;
}
