# Makefile: builds, tests and installs Moonwalk. `make help` says what there is to make.

# ---- what may be set on the command line --------------------------------------------------

PREFIX   ?= /usr/local
DESTDIR  ?=
CFLAGS   ?=
LDFLAGS  ?=
SANITIZE ?=# address,undefined
WERROR   ?=# 1 makes warnings errors
V        ?=# 1 shows the commands
TESTS    ?=# the tests to run; all of them when empty
ifeq ($(origin CC),default)
CC := $(shell command -v gcc >/dev/null || ! command -v clang >/dev/null && echo gcc || echo clang)
endif

ifneq ($(SANITIZE),)
comma := ,
BUILD    ?= build/$(subst $(comma),-,$(SANITIZE))
OPTIMIZE ?= -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
OPTIMIZE_KERNELS ?= $(OPTIMIZE)
else ifneq ($(DEBUG),)
BUILD    ?= build/debug
OPTIMIZE ?= -Og -g3
OPTIMIZE_KERNELS ?= $(OPTIMIZE)
endif
BUILD    ?= build
OPTIMIZE ?= -O2 -g
OPTIMIZE_KERNELS ?= -O3

# ---- the machine --------------------------------------------------------------------------

CORES := $(shell nproc 2>/dev/null || echo 2)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(CORES) # a -j on the command line wins
endif

# Kernels are compiled once for each instruction level, and the best one is picked at start-up.
LEVEL_v1   :=
LEVEL_v3   := -march=x86-64-v3
LEVEL_v4   := -march=x86-64-v4 -mprefer-vector-width=512
LEVEL_base :=
ifneq ($(filter x86_64-% amd64-%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
LEVELS ?= v4 v3 v1
else
LEVELS ?= base
endif

PKG_CONFIG ?= pkg-config
LUA_PC ?= $(shell for name in lua5.4 lua-5.4 lua54 lua; do \
  $(PKG_CONFIG) --exists "$$name >= 5.4" 2>/dev/null && echo $$name && break; done)
# Pictures are read where these are there.
PICTURES := $(shell for name in libpng libjpeg; do $(PKG_CONFIG) --exists $$name && echo $$name; done)
LUA_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PC) $(PICTURES) zlib libcjson libffi 2>/dev/null) \
  $(if $(filter libpng,$(PICTURES)),-DMW_HAS_PNG) $(if $(filter libjpeg,$(PICTURES)),-DMW_HAS_JPEG)
LUA_LIBS   := $(shell $(PKG_CONFIG) --libs $(LUA_PC) 2>/dev/null)
FACE_LIBS  := $(shell $(PKG_CONFIG) --libs $(PICTURES) zlib libcjson 2>/dev/null)
CORE_LIBS  := $(shell $(PKG_CONFIG) --libs libffi 2>/dev/null) -pthread -ldl -lm

# ---- flags --------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes \
  -Wno-missing-field-initializers $(if $(WERROR),-Werror)
SHARED := -std=gnu11 -fPIC -fvisibility=hidden $(WARNINGS) -Igraph -I.
C_FLAGS = $(SHARED) $(OPTIMIZE) $(CFLAGS)
# clang warns of loops that it was asked to vectorise and did not: all of them, with -O1.
KERNEL_FLAGS = $(SHARED) $(OPTIMIZE_KERNELS) -fopenmp-simd -ffp-contract=fast -fno-math-errno \
  -fno-trapping-math $(if $(findstring clang,$(CC)),-Wno-pass-failed) $(CFLAGS)
LINK_FLAGS = $(if $(SANITIZE),$(OPTIMIZE)) -Wl,--as-needed $(CFLAGS) $(LDFLAGS)
DEPENDENCIES = -MMD -MP

ifeq ($(V),)
Q := @
endif
say = @printf '  %-5s %s\n' '$1' '$2'

# ---- what there is to build ---------------------------------------------------------------

VERSION := $(shell sed -n 's/^.define MW_VERSION "\(.*\)"/\1/p' graph/moonwalk.h)
MAJOR := $(firstword $(subst ., ,$(VERSION)))

C_FILES := $(filter-out graph/gemm.c,$(wildcard graph/*.c)) $(wildcard plugins/*.c)
FACE_FILES := $(wildcard lua/*.c)
COMMAND_FILES := $(shell grep -l '^int main\>' $(FACE_FILES) /dev/null)
LUA_FILES := $(sort $(shell find lua/moonwalk -name '*.lua'))

# Element types: f32 and f64, or what a line "real: f32 f64 i32" of the file's comments lists.
REALS := $(shell awk ' \
  /^ *\/?\*+ *real:( +(f32|f64|i32|i64|u8))+ *(\*\/)? *$$/ { \
    gsub(/.*real:|\*\//, ""); seen[FILENAME] = 1; \
    for (i = 1; i <= NF; i++) print FILENAME "." $$i } \
  END { for (i = 1; i < ARGC; i++) if (!(ARGV[i] in seen)) \
    print ARGV[i] ".f32\n" ARGV[i] ".f64" }' $(wildcard graph/gemm.c ops/*.c) </dev/null)
# For example build/ops/conv2d.f32.v3.o
KERNELS := $(foreach level,$(LEVELS),$(patsubst %,$(BUILD)/%.$(level).o,$(subst .c.,.,$(REALS))))

HEADERS := graph/moonwalk.h graph/vector.h graph/vector_math.h
TEXTS := headers templates op_files manual

CORE_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(C_FILES)) $(KERNELS) $(BUILD)/shipped.o
FACE_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(COMMAND_FILES),$(FACE_FILES))) \
  $(BUILD)/lua_modules.o $(TEXTS:%=$(BUILD)/%.o)
COMMAND_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(COMMAND_FILES))

PRODUCTS := $(BUILD)/moonwalk $(BUILD)/moonwalk.so $(BUILD)/libmoonwalk.a $(BUILD)/libmoonwalk.so
EXAMPLES := $(patsubst plugins/examples/%.c,$(BUILD)/plugins/%.so,$(wildcard plugins/examples/*.c))
ONEDNN := $(BUILD)/plugins/onednn.so
ALONE := $(patsubst %,$(BUILD)/alone/%.so,argmax dense pool)
WIDE := $(patsubst %,$(BUILD)/wide/%.so,conv2d_implicit conv2d_shifted conv2d_winograd pool_2x2 \
  pool_vectors)
HOSTILE := $(patsubst tests/hostile/%.c,$(BUILD)/hostile/%.so,$(wildcard tests/hostile/*.c))
FOREIGN := $(BUILD)/foreign/functions.so
TEST_PROGRAMS := $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(wildcard tests/c/*.c))

.PHONY: all debug plugins docs screens check-build test run-tests bench bench-record bench-table \
  bench-plot bench-programs demo deps lint format install clean help FORCE
.DELETE_ON_ERROR:
.SUFFIXES:

all: $(PRODUCTS)

help:
	@echo 'make            build the command, the Lua module and the library into $(BUILD)/'
	@echo 'make demo       set up, build, and train LeNet-5'
	@echo 'make test       set up, build, and run all tests; TESTS="tests/lua/nn.lua" for some'
	@echo 'make bench      measure training, inference and kernels, also those of PyTorch, oneDNN and'
	@echo '                OpenBLAS where they are installed; ONLY=lenet,conv64 ROUNDS=3 for some'
	@echo 'make bench-plot and make bench-table: the last results as a drawing, and for the manual'
	@echo 'make debug      build without optimisation into build/debug/'
	@echo 'make deps       install what building, testing and linting need (Debian, Ubuntu)'
	@echo 'make plugins    build the example plugins, and that for oneDNN, into $(BUILD)/plugins/'
	@echo 'make docs       write a page for each op, and an index, into $(BUILD)/docs/ops/, and LuaCATS'
	@echo '                definitions of them for editors into $(BUILD)/docs/annotations/moonwalk.lua'
	@echo 'make screens    take the pictures of docs/screens/ anew, with tmux'
	@echo 'make lint       clang-format, luacheck, cppcheck'
	@echo 'make format     let clang-format write'
	@echo 'make install    into PREFIX=$(PREFIX), below DESTDIR when that is set'
	@echo 'make compile_commands.json'
	@echo 'make clean      remove $(BUILD)/'
	@echo 'Settings: CC=clang, SANITIZE=address,undefined, WERROR=1, V=1, BUILD=folder, CFLAGS=...'

debug:
	@$(MAKE) --no-print-directory DEBUG=1 all

plugins: $(EXAMPLES) $(ONEDNN)

# From what each op says of itself; the examples on the pages are run.
docs: $(BUILD)/moonwalk
	@$(BUILD)/moonwalk help --pages $(BUILD)/docs/ops
	@mkdir -p $(BUILD)/docs/annotations
	@$(BUILD)/moonwalk help --annotations $(BUILD)/docs/annotations/moonwalk.lua

# The pictures of the manual, from sessions that are played in a terminal; they are committed.
screens: $(BUILD)/moonwalk
	@LUA_PATH='tests/?.lua;tools/?.lua;;' MOONWALK_BUILD=$(abspath $(BUILD)) $(BUILD)/moonwalk \
	  tools/screens.lua docs/screens

# ---- stamps: files that change only when what they say changes ----------------------------

# stamp(text): rewrites $@ if its text is another one
stamp = @mkdir -p $(@D); printf '%s\n' '$(strip $1)' | cmp -s - $@ || printf '%s\n' '$(strip $1)' >$@

# -Werror changes nothing of what is built.
$(BUILD)/flags: FORCE
	$(call stamp,$(filter-out -Werror,$(CC) $(C_FLAGS) $(KERNEL_FLAGS) $(LINK_FLAGS) $(LUA_CFLAGS)))

$(BUILD)/objects: FORCE
	$(call stamp,$(patsubst $(BUILD)/%,%,$(CORE_OBJECTS) $(FACE_OBJECTS) $(COMMAND_OBJECTS)) $(LUA_FILES))

# ---- compiling ----------------------------------------------------------------------------

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) $(DEPENDENCIES) $(if $(filter lua/% plugins/%,$<),$(LUA_CFLAGS)) -c $< -o $@

# The command knows where it is installed, and looks for plugins there.
$(BUILD)/prefix: FORCE
	$(call stamp,$(PREFIX))

$(BUILD)/lua/plugin.o: $(BUILD)/prefix
$(BUILD)/lua/plugin.o: C_FLAGS += -DMW_PREFIX='"$(PREFIX)"'

# What goes over every pixel is compiled like a kernel, for one level.
$(BUILD)/lua/augment.o: OPTIMIZE := $(OPTIMIZE_KERNELS) -fno-math-errno -fno-trapping-math

# A kernel file, for one element type (f32) and one instruction level (v3).
define kernel_rules
$(BUILD)/ops/%.$1.$2.o: ops/%.c $(BUILD)/flags
	$$(call say,CC,$$< $1 $2)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(KERNEL_FLAGS) $$(DEPENDENCIES) $(LEVEL_$2) -DMW_REAL_$(UPPER_$1) \
	  -DMW_ENTRY=mw_shipped_$$*_$1_$2 -c $$< -o $$@

$(BUILD)/graph/gemm.$1.$2.o: graph/gemm.c $(BUILD)/flags
	$$(call say,CC,$$< $1 $2)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(KERNEL_FLAGS) $$(DEPENDENCIES) $(LEVEL_$2) -DMW_REAL_$(UPPER_$1) \
	  -DMW_GEMM=mw_gemm_$1_$2 -c $$< -o $$@
endef
UPPER_f32 := F32
UPPER_f64 := F64
UPPER_i32 := I32
UPPER_i64 := I64
UPPER_u8 := U8
$(foreach real,f32 f64 i32 i64 u8,$(foreach level,$(LEVELS),\
  $(eval $(call kernel_rules,$(real),$(level)))))

# ---- generated sources --------------------------------------------------------------------

# The table of the shipped kernels, from the names of their objects.
$(BUILD)/shipped.c: tools/shipped.sh $(BUILD)/objects
	$(call say,GEN,$@)
	$(Q)sh tools/shipped.sh $(sort $(notdir $(KERNELS:.o=))) >$@

$(BUILD)/shipped.o: $(BUILD)/shipped.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(C_FLAGS) $(DEPENDENCIES) -c $< -o $@

# The Lua modules as C text, so that the command and the module are one file each.
$(BUILD)/embed: tools/embed.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O1 $< -o $@

$(BUILD)/lua_modules.c: $(BUILD)/embed $(LUA_FILES) $(BUILD)/objects
	$(call say,GEN,$@)
	$(Q)$(BUILD)/embed lua $(LUA_FILES) >$@

$(BUILD)/lua_modules.o: $(BUILD)/lua_modules.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(C_FLAGS) $(LUA_CFLAGS) $(DEPENDENCIES) -c $< -o $@

# Likewise: what plugins are compiled with, the files that `moonwalk plugin new` writes, the sources
# of the shipped ops and the manual, which the prompt shows. A rule for each of TEXTS.
TEMPLATES := $(sort $(wildcard plugins/template/*))
OP_FILES := $(sort $(wildcard ops/*.[ch]))
MANUAL := $(sort $(wildcard docs/*.md))
define text_rule
$(BUILD)/$1.c: tools/texts.sh $2 $(BUILD)/objects
	$$(call say,GEN,$$@)
	$$(Q)sh tools/texts.sh face_$1 $2 >$$@
endef
$(eval $(call text_rule,headers,$(HEADERS)))
$(eval $(call text_rule,templates,$(TEMPLATES)))
$(eval $(call text_rule,op_files,$(OP_FILES)))
$(eval $(call text_rule,manual,$(MANUAL)))

$(TEXTS:%=$(BUILD)/%.o): %.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(C_FLAGS) $(LUA_CFLAGS) $(DEPENDENCIES) -c $< -o $@

# ---- linking ------------------------------------------------------------------------------

# Each appears when it is whole: a test that installs may link them anew while others run them.
$(BUILD)/moonwalk: $(CORE_OBJECTS) $(FACE_OBJECTS) $(COMMAND_OBJECTS) $(BUILD)/objects
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_FLAGS) $(filter %.o,$^) $(FACE_LIBS) $(LUA_LIBS) $(CORE_LIBS) -o $@.new
	$(Q)mv $@.new $@

# The module takes Lua's functions from the program that loads it.
$(BUILD)/moonwalk.so: $(CORE_OBJECTS) $(FACE_OBJECTS) $(BUILD)/objects
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(LINK_FLAGS) $(filter %.o,$^) $(FACE_LIBS) $(CORE_LIBS) -o $@.new
	$(Q)mv $@.new $@

$(BUILD)/libmoonwalk.a: $(CORE_OBJECTS) $(BUILD)/objects
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/libmoonwalk.so: $(CORE_OBJECTS) $(BUILD)/objects
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(LINK_FLAGS) -Wl,-soname,libmoonwalk.so.$(MAJOR) \
	  $(if $(SANITIZE),,-Wl,--no-undefined) $(filter %.o,$^) $(CORE_LIBS) -o $@.new
	$(Q)mv $@.new $@
	@ln -sf libmoonwalk.so $@.$(MAJOR)

# A plugin is one file, compiled for both element types.
$(BUILD)/plugins/%.so: plugins/examples/%.c $(HEADERS) $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(KERNEL_FLAGS) -DMW_REAL_F32 -c $< -o $(@:.so=.f32.o)
	$(Q)$(CC) $(KERNEL_FLAGS) -DMW_REAL_F64 -c $< -o $(@:.so=.f64.o)
	$(Q)$(CC) -shared $(LINK_FLAGS) $(@:.so=.f32.o) $(@:.so=.f64.o) -lm -o $@

# This one wants a library that Moonwalk itself does not.
$(ONEDNN): plugins/onednn/onednn.c graph/moonwalk.h $(BUILD)/flags
	@mkdir -p $(@D)
	@if printf '#include <dnnl.h>\n#if DNNL_VERSION_MAJOR != 2\n#error\n#endif\n' | \
	  $(CC) $(CFLAGS) -E -x c - >/dev/null 2>&1; then printf '  %-5s %s\n' CC $<; \
	  $(CC) $(KERNEL_FLAGS) -shared $(LINK_FLAGS) $< -ldnnl -Wl,-z,nodelete -o $@; \
	else echo 'plugins/onednn is left out: it wants oneDNN 2 (libdnnl-dev)'; fi

# A shipped op built alone is a plugin too. The tests load some beside the shipped ones, under
# other names.
$(BUILD)/alone/%.so: ops/%.c $(HEADERS) $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)sed 's/^    \.\(name\|op\) = "/&alone_/' $< >$(@:.so=.c)
	$(Q)$(foreach real,$(alone_reals),$(CC) $(KERNEL_FLAGS) -DMW_REAL_$(UPPER_$(real)) \
	  -c $(@:.so=.c) -o $(@:.so=.$(real).o) &&) true
	$(Q)$(CC) -shared $(LINK_FLAGS) $(alone_reals:%=$(@:.so=.%.o)) -lm -o $@
alone_reals = $(patsubst .%,%,$(suffix $(filter $<.%,$(REALS))))

# Kernels with vectors as wide as AVX-512's, whatever this machine has, beside the shipped ones.
$(BUILD)/wide/%.so: ops/%.c ops/conv2d.h graph/moonwalk.h graph/vector.h $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)sed 's/\.name = "/&wide_/' $< >$(@:.so=.c)
	$(Q)$(foreach real,f32 f64,$(CC) $(KERNEL_FLAGS) -DMW_REAL_$(UPPER_$(real)) \
	  -DMW_VECTOR_BYTES=64 -Iops -Wno-psabi -c $(@:.so=.c) -o $(@:.so=.$(real).o) &&) true
	$(Q)$(CC) -shared $(LINK_FLAGS) $(@:.so=.f32.o) $(@:.so=.f64.o) -lm -o $@

# ---- tests --------------------------------------------------------------------------------

$(BUILD)/tests/%: tests/c/%.c $(BUILD)/libmoonwalk.a $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) $(DEPENDENCIES) -MF $@.d -Itests $(LINK_FLAGS) $(WRAPPED:%=-Wl,--wrap=%) $< \
	  $(BUILD)/libmoonwalk.a $(CORE_LIBS) -o $@

# This one makes allocations fail.
$(BUILD)/tests/allocation: private WRAPPED := malloc calloc realloc aligned_alloc strdup open_memstream free

# This one shows that the shared library exports what a program needs.
$(BUILD)/tests/embed: tests/c/embed.c $(BUILD)/libmoonwalk.so $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) $(DEPENDENCIES) -MF $@.d -Itests $(LINK_FLAGS) -Wl,-rpath,'$$ORIGIN/..' $< \
	  $(BUILD)/libmoonwalk.so -lm -o $@

$(BUILD)/hostile/%.so: tests/hostile/%.c graph/moonwalk.h $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SHARED) -O1 -shared $< -o $@

$(BUILD)/foreign/%.so: tests/foreign/%.c $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -fPIC -O1 -pthread -shared $< -o $@

ifeq ($(MOONWALK_DATA),)
MOONWALK_DATA := $(abspath $(wildcard ../shared/data))
endif

test:
	@CC='$(CC)' sh tools/setup.sh build test
	@$(MAKE) --no-print-directory run-tests

run-tests: all $(TEST_PROGRAMS) $(EXAMPLES) $(ONEDNN) $(ALONE) $(WIDE) $(HOSTILE) $(FOREIGN)
	@CC='$(CC)' SANITIZE='$(SANITIZE)' MOONWALK_BUILD='$(abspath $(BUILD))' \
	  $(if $(MOONWALK_DATA),MOONWALK_DATA='$(MOONWALK_DATA)') LUA_PATH='tests/?.lua;;' \
	  ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 MOONWALK_GATE_SECONDS=100 \
	  prove --failures --comments --exec 'sh tests/run' -j$(CORES) \
	  $(or $(TESTS),$(TEST_PROGRAMS) $(sort $(wildcard tests/lua/*.lua tests/sh/*.sh)))

# ---- benchmarks ---------------------------------------------------------------------------

# What it is compared with is built where its header is installed, with plain -O2: all that is measured
# lies in its library.
ONLY    ?=# workloads whose names have one of these in them: lenet,conv64
ROUNDS  ?= 7
SECONDS ?= 0.3# of a round
OTHERS  ?=# no: nothing but Moonwalk
RESULTS := $(BUILD)/bench/results.json
BENCH   := $(BUILD)/moonwalk tests/bench/run.lua --build $(BUILD) --rounds $(ROUNDS) \
  --seconds $(SECONDS) --only '$(ONLY)' $(if $(filter no,$(OTHERS)),--alone)
has_header = $(shell printf '\043include <$1>\n' | $(CC) -E - >/dev/null 2>&1 && echo yes)

bench: $(BUILD)/moonwalk bench-programs
	@$(BENCH) --out $(RESULTS)

# The losses of the plain kernels, in tests/bench/losses.json: some minutes.
bench-record: $(BUILD)/moonwalk
	@$(BENCH) --record

bench-table: $(BUILD)/moonwalk
	@$(BUILD)/moonwalk tests/bench/report.lua $(RESULTS)

bench-plot: $(BUILD)/moonwalk
	@$(BUILD)/moonwalk tests/bench/plot.lua $(RESULTS) $(RESULTS:.json=.svg)

bench-programs:
	@$(MAKE) --no-print-directory -s \
	  $(if $(call has_header,oneapi/dnnl/dnnl.h),$(BUILD)/bench/onednn) \
	  $(if $(call has_header,cblas.h),$(BUILD)/bench/openblas) $(BUILD)/bench/built

$(BUILD)/bench/built:
	@mkdir -p $(@D)
	@touch $@

$(BUILD)/bench/onednn: BENCH_LIBS := -ldnnl
$(BUILD)/bench/openblas: BENCH_LIBS := -lopenblas
$(BUILD)/bench/%: tests/bench/%.c tests/bench/asked.h $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -Wno-conversion -O2 $< $(BENCH_LIBS) -o $@

demo:
	@CC='$(CC)' sh tools/setup.sh build
	@$(MAKE) --no-print-directory $(BUILD)/moonwalk
	@$(BUILD)/moonwalk lua/examples/lenet5.lua

deps:
	@CC='$(CC)' sh tools/setup.sh build test lint

# ---- upkeep -------------------------------------------------------------------------------

TIDY_C := $(wildcard graph/*.[ch] ops/*.c plugins/*.[ch] plugins/*/*.c lua/*.[ch] tests/*.h tests/*/*.h \
  tests/c/*.c tests/hostile/*.c tests/foreign/*.c tests/bench/*.c tools/*.c docs/*.c)

lint:
	@CC='$(CC)' sh tools/setup.sh lint
	clang-format --dry-run -Werror $(TIDY_C)
	luacheck --quiet lua tests plugins
	cppcheck --quiet --error-exitcode=1 -j$(CORES) --std=c11 --inline-suppr -Igraph \
	  --enable=warning,performance,portability --suppressions-list=tools/cppcheck.txt $(TIDY_C)

format:
	clang-format -i $(TIDY_C)

# The command line of every source file, as editors and clang tools want it.
compile_commands.json: FORCE
	@$(MAKE) --no-print-directory -nB V=1 all | awk -v folder='$(CURDIR)' ' \
	  { while (sub(/\\$$/, "")) { getline more; $$0 = $$0 more } } \
	  match($$0, / -c [^ ]+/) { file = substr($$0, RSTART + 4, RLENGTH - 4); \
	    if (seen[file]++) next; gsub(/[\\"]/, "\\\\&"); \
	    printf "%s{\"directory\": \"%s\", \"file\": \"%s\", \"command\": \"%s\"}", \
	      (n++ ? ",\n" : "[\n"), folder, file, $$0 } \
	  END { print "\n]" }' >$@

lib = $(DESTDIR)$(PREFIX)/lib
share = $(DESTDIR)$(PREFIX)/share/moonwalk

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(lib)/pkgconfig \
	  $(lib)/lua/5.4 $(share)/lua $(share)/template
	install -m 755 $(BUILD)/moonwalk $(DESTDIR)$(PREFIX)/bin/moonwalk
	install -m 755 $(BUILD)/moonwalk.so $(lib)/lua/5.4/moonwalk.so
	install -m 644 $(BUILD)/libmoonwalk.a $(lib)/libmoonwalk.a
	install -m 755 $(BUILD)/libmoonwalk.so $(lib)/libmoonwalk.so.$(VERSION)
	ln -sf libmoonwalk.so.$(VERSION) $(lib)/libmoonwalk.so.$(MAJOR)
	ln -sf libmoonwalk.so.$(MAJOR) $(lib)/libmoonwalk.so
	install -m 644 $(HEADERS) $(DESTDIR)$(PREFIX)/include/
	cp -R lua/moonwalk lua/examples $(share)/lua/
	install -d $(share)/annotations
	$(BUILD)/moonwalk help --annotations $(share)/annotations/moonwalk.lua
	install -m 644 $(wildcard plugins/template/*) $(share)/template/
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	  'Name: moonwalk' 'Description: Computation graphs with automatic differentiation' \
	  'Version: $(VERSION)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lmoonwalk' \
	  'Libs.private: $(CORE_LIBS)' >$(lib)/pkgconfig/moonwalk.pc

clean:
	rm -rf $(BUILD) compile_commands.json

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
