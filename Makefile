# SPDX-License-Identifier: GPL-2.0-or-later
#
# make              all commands, in build/
# make check        sets up, builds, lints, tests (at most 10 minutes)
# make demo         shows the main job with a real guest
# make help         the other targets
#
# Files are found by where they are: cmd/NAME.c is the command NAME, all of
# common/ one library, tests/unit/NAME.c and tests/dev/NAME.c one program
# each. O=DIR builds elsewhere, SAN=address,undefined with sanitizers, CC=clang.

VERSION := 0.1
PREFIX ?= /usr/local
SAN ?=
O ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))$(if $(filter clang%,$(CC)),/clang)
comma := ,

CFLAGS ?= -O2 -g
std := -std=gnu17 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -Icommon
warn := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wvla -Wundef -Werror=implicit \
	-Wno-missing-field-initializers $(if $(WERROR),-Werror)
# Where Debian 12's gcc and clang agree; sanitizers bring their own.
hard := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer \
	-fno-sanitize-recover=undefined,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection \
	-ftrivial-auto-var-init=zero) -fPIE
ALL_CFLAGS = $(std) $(warn) $(hard) -pthread -MMD -MP $(CFLAGS)
# One static binary starts in a fraction of the time a dynamic one needs; what
# unpacks archives cannot be one.
link = $(if $(SAN),-fsanitize=$(SAN) -pie,$(if $(LIBS_$(@F)),-pie,-static-pie)) \
	-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed -pthread $(LDFLAGS)
LIBS_vm-create := -larchive
LIBS_vm-set := -larchive

cmds := $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
lib_src := $(sort $(wildcard common/*/*.c))
units := $(patsubst tests/%.c,%,$(wildcard tests/unit/*.c tests/dev/*.c))

.DEFAULT_GOAL := all
.PHONY: all
all: $(cmds:%=$(O)/%)

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<
# T: names only, so that two files of one name do not overwrite each other.
$(O)/libvm.a: $(lib_src:%.c=$(O)/%.o)
	@rm -f $@
	$(AR) rcsT $@ $^
$(cmds:%=$(O)/%): $(O)/%: $(O)/cmd/%.o $(O)/libvm.a
	$(CC) $(ALL_CFLAGS) $(link) -o $@ $^ -ljansson $(LIBS_$(@F))
$(units:%=$(O)/tests/%): $(O)/tests/%: $(O)/tests/%.o $(O)/libvm.a
	$(CC) $(ALL_CFLAGS) $(if $(SAN),-fsanitize=$(SAN)) -pie -o $@ $^ -ljansson -larchive
.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)

.PHONY: unit
unit: $(units:%=$(O)/tests/%)
	prove -j2 -e '' $^

.PHONY: clean
clean:
	rm -rf build
