# SPDX-License-Identifier: GPL-2.0-or-later
#
# make              every command, into build/
# make demo         show the main job with a stock Debian (sets up what it needs)
# make check        set up, build, lint and test (check-long: every kernel and size)
# make bench        print how fast it is, beside others
# make fuzz         every fuzzer for FUZZ_S seconds
# make install      PREFIX=/usr/local, DESTDIR=; uninstall
#
# Files are found by where they are: cmd/NAME.c is the command NAME, common/
# is one library, each C file in a folder of tests/ one program.
# CC=clang, SAN=address,undefined, WERROR=1, O=DIR (build into DIR), V=1 (show).

VERSION := 0.1
PREFIX ?= /usr/local
FUZZ_S ?= 60
comma := ,
O ?= build$(if $(filter clang%,$(CC)),/clang)$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
$(if $(V),,.SILENT:)

CFLAGS ?= -O2 -g
std := -std=gnu17 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -DINIT_PROGRAM='"$(O)/init"' -Icommon
warn := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wvla -Wundef \
	-Wno-missing-field-initializers $(if $(WERROR),-Werror)
# Sanitizers and hardening look for the same mistakes in different ways.
hard := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer,\
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
	-fstack-clash-protection -fcf-protection \
	-ftrivial-auto-var-init=$(if $(findstring clang,$(CC)),pattern,zero))
all_cflags = $(std) $(warn) $(hard) -fPIE -pthread $(CFLAGS)
# A static binary starts in a fraction of a dynamic one's time; libcurl, which
# stands on many libraries, is not to be had so. Of libarchive the commands but
# vm-image need what decompresses, and no more.
kind = $(if $(or $(SAN),$(filter -lcurl -lcrypto,$(LIBS_$(@F)))),-pie,-static-pie)
unpack := -l:libarchive.a -lbz2 -llzma -llz4 -lzstd -lz
all_ldflags = $(kind) -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS)
LIBS_vm-create := $(unpack) -lext2fs -lcom_err
LIBS_vm-image := -larchive -lcurl -lcrypto -lext2fs -lcom_err
LIBS_vm-recv := -lcrypto
LIBS_vm-send := -lcrypto
LIBS_vm-set := $(unpack) -lext2fs -lcom_err

cmds := $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
lib := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard common/*/*.c)))
programs = $(patsubst %.c,$(O)/%,$(wildcard tests/$(1)/*.c))
tests := $(foreach d,unit dev kvm cli crash bench block,$(call programs,$(d)))
guests := $(basename $(addprefix $(O)/,$(wildcard tests/guest/*.[Sc])))

.PHONY: all demo check check-long lint bench fuzz completions install uninstall clean show-O
all: $(cmds:%=$(O)/%)
show-O: ; echo $(O)

$(O)/%.o: %.c
	mkdir -p $(@D); echo "  CC    $<"
	$(CC) $(all_cflags) -MMD -MP -c -o $@ $<
# T: names only; objects of one name would overwrite each other in an archive.
$(O)/libvm.a: $(lib)
	rm -f $@; $(AR) rcsT $@ $^
# The first program in the initrds that vm-image makes, which holds it as it is:
# so no sanitizer goes with it.
init_from := common/image/init/init.c $(addprefix common/,image/partition.c \
	$(addprefix block/,block.c lock.c raw.c vec.c) \
	$(addprefix base/,buf.c err.c file.c log.c text.c))
$(O)/init: $(init_from) $(wildcard common/base/*.h common/block/*.h) common/image/partition.h
	mkdir -p $(@D); echo "  INIT  $@"
	$(CC) $(std) $(warn) -O2 -ffunction-sections -fdata-sections -Wl,--gc-sections \
		-static -s -o $@ $(init_from)
$(O)/common/image/initrd_init.o: $(O)/init
$(cmds:%=$(O)/%): $(O)/%: $(O)/cmd/%.o $(O)/libvm.a
	echo "  LINK  $@"
	$(CC) $(all_cflags) $(all_ldflags) -o $@ $^ -luring -ljansson -lz -lzstd $(LIBS_$(@F))
$(tests): LIBS_$(@F) := -larchive
$(tests): kind := -pie
$(O)/tests/bench/bare $(O)/tests/block/promise: kind = $(if $(SAN),-pie,-static-pie)
$(tests): $(O)/%: $(O)/%.o $(O)/libvm.a
	echo "  LINK  $@"
	$(CC) $(all_cflags) $(all_ldflags) -o $@ $^ -luring -ljansson -lz -lzstd -larchive -lcurl -lcrypto -lext2fs -lcom_err
# Guests of a page: a kernel with a PVH note and nothing else. In C they are
# 32-bit code, which is how PVH enters, put into the 64-bit file a kernel is.
guest_ld := -nostdlib -static -Wl,-N,-Ttext=0x100000 \
	-Wl,--section-start=.note.pvh=0x110000,--build-id=none,--no-warn-rwx-segments
$(O)/tests/guest/%: tests/guest/%.S
	mkdir -p $(@D); echo "  GUEST $@"
	$(CC) -o $@ $< $(guest_ld)
$(O)/tests/guest/%: tests/guest/%.c $(wildcard tests/guest/*.h)
	mkdir -p $(@D); echo "  GUEST $@"
	$(CC) -m32 -std=gnu17 $(warn) -O1 -ffreestanding -fno-pie -mgeneral-regs-only \
		-fno-stack-protector -fcf-protection=none -o $@.32 $< $(guest_ld)
	objcopy -I elf32-i386 -O elf64-x86-64 $@.32 $@
programs-%: $(guests) ; $(MAKE) --no-print-directory $(call programs,$*)
.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)

demo: ; tests/setup && tests/demo
check: ; tests/setup && tests/check
check-long: ; tests/setup && tests/check guest-long
lint: ; tests/lint/run
bench: ; tests/setup && tests/bench/run
completions: all ; O=$(O) tests/lint/completions --update

fuzzers := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(wildcard tests/fuzz/*.c))
$(O)/fuzz/%: tests/fuzz/%.c $(wildcard common/*/*.[ch]) $(O)/init
	mkdir -p $(@D); echo "  FUZZ  $@"
	clang $(std) -g -O1 -fsanitize=fuzzer,address,undefined -pthread -o $@ $< \
		$(filter-out common/cli/%,$(wildcard common/*/*.c)) -luring -ljansson -lz -lzstd -larchive -lcurl -lcrypto -lext2fs -lcom_err
fuzz: $(fuzzers)
	for f in $^; do $$f -max_total_time=$(FUZZ_S) -timeout=10 || exit 1; done

dest := $(DESTDIR)$(PREFIX)
share := $(dest)/share
install: all
	install -d $(dest)/bin $(share)/man/man1 $(share)/man/man5 $(share)/man/man7 \
		$(share)/bash-completion/completions $(share)/zsh/site-functions \
		$(share)/fish/vendor_completions.d $(share)/vmutils
	install $(cmds:%=$(O)/%) $(dest)/bin
	for n in 1 5 7; do install -m 644 man/*.$$n $(share)/man/man$$n; done
	for c in $(cmds); do install -m 644 completions/vm.bash \
		$(share)/bash-completion/completions/$$c; done
	install -m 644 completions/_vm $(share)/zsh/site-functions
	install -m 644 completions/vm.fish $(share)/fish/vendor_completions.d
	install -m 644 common/image/catalog.txt $(share)/vmutils/catalog
uninstall:
	rm -f $(cmds:%=$(dest)/bin/%) $(cmds:%=$(share)/bash-completion/completions/%) \
		$(foreach m,$(notdir $(wildcard man/*)),$(share)/man/man*/$(m)) \
		$(share)/zsh/site-functions/_vm $(share)/fish/vendor_completions.d/vm.fish \
		$(share)/vmutils/catalog
clean: ; rm -rf build
