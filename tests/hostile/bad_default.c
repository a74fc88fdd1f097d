/* bad_default.c: an attribute whose default is none of its choices. */
#include "hostile.h"

static const mw_attr attrs[] = {
    {"mode", MW_CHOICE, 0, "a choice", "neither", .choices = "one|other"}, {0}};
static const mw_op op = {GOOD_OP("hostile_default"), .attrs = attrs, .attrs_size = sizeof(int)};
MW_PLUGIN(&op)
