/* bad_schema.c: an attribute that lies outside of its struct. */
#include "hostile.h"

static const mw_attr attrs[] = {
    {.name = "size", .type = MW_INT, .offset = 4096, .doc = "somewhere else", .initial = "1"}, {0}};
static const mw_op op = {GOOD_OP("hostile_schema"), .attrs = attrs, .attrs_size = 8};
MW_PLUGIN(&op)
