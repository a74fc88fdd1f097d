/* bad_default.c: an attribute whose default is none of its choices. */
#include "hostile.h"

static const mw_attr attrs[] = {{.name = "mode",
                                 .type = MW_CHOICE,
                                 .offset = 0,
                                 .doc = "a choice",
                                 .initial = "neither",
                                 .choices = "one|other"},
                                {0}};
static const mw_op op = {GOOD_OP("hostile_default"), .attrs = attrs, .attrs_size = sizeof(int)};
MW_PLUGIN(&op)
