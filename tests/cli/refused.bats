#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that reach outside, are cut off, or would fill the host: refused with
# the right code, or harmless, and what is refused leaves nothing.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	images=$VM_STATE/images
}

# refused CODE TEXT ARG... : vm-image import ARG... is, and leaves nothing
refused() {
	local code=$1 text=$2
	shift 2
	echo "$*:"
	run --separate-stderr vm-image import "$@" --name x
	echo "$status $stderr"
	[ "$status" = "$code" ]
	[[ $stderr == "vm-image: "*"$text"* ]]
	[ "$output" = "" ]
	[ "${#stderr_lines[@]}" = 1 ]
	[ -z "$(ls -A "$images" 2>/dev/null)" ]
}

# used : KiB that the files of this test take, the state directory among them
used() { du -sk . | cut -f 1; }

# in_x PATH : what the image x has there; fails if it has nothing
in_x() {
	debugfs -R "stat $1" "$images/x/disk" 2>/dev/null | grep -o 'Inode:.*Type: [a-z]*'
}

# outside NAME : a path of the host that nobody else has
outside() { echo "$BATS_TEST_TMPDIR/outside/$1"; }

# empty_zip NAME : a zip with an empty file of that name (APPNOTE 4.3)
empty_zip() {
	local n name=$1 zeros8='\0\0\0\0\0\0\0\0'
	printf -v n '\\x%02x\\0' "${#name}"
	local fixed='\x14\0\0\0\0\0\0\0!\0\0\0\0\0'$zeros8
	local at=$((30 + ${#name})) size=$((46 + ${#name}))
	printf "PK\3\4$fixed$n\0\0"
	printf %s "$name"
	printf "PK\1\2\x14\3$fixed$n\0\0\0\0\0\0\0\0\0\0\xa4\x81\0\0\0\0"
	printf %s "$name"
	printf 'PK\5\6\0\0\0\0\1\0\1\0'
	# shellcheck disable=SC2059	# the bytes are a format on purpose
	printf "$(printf '\\x%02x\\0\\0\\0\\x%02x\\0\\0\\0' $size $at)\0\0"
}

@test "an archive's way out by '..' is refused: a name, a hard link, through a link" {
	mkdir outside
	echo a >a
	ln a b
	ln -s ../../../../../.. up
	tar -cPf name.tar --transform "s,^a$,../../../../../..$(outside evil)," a
	tar -cPf inner.tar --transform 's,^a$,c/../../evil,' a
	refused 13 "'..'" name.tar
	refused 13 "'..'" inner.tar
	tar -cPf hard.tar --transform 's,^a$,../../../../../etc/passwd,h' a b
	refused 13 '' hard.tar
	empty_zip "../../../../..$(outside evil)" >name.zip
	refused 13 "'..'" name.zip
	# a link upwards ends at the root of the image
	tar -cPf through.tar up
	tar -rPf through.tar --transform "s,^a$,up$(outside evil),S" a
	vm-image import through.tar --name x
	in_x "$(outside evil)"
	[ -z "$(ls outside)" ]
}

@test "absolute names and links are those of the image" {
	mkdir outside
	echo a >a
	ln -s "$PWD/outside" out
	tar -cPf abs.tar --transform "s,^a$,$(outside evil)," a
	vm-image import abs.tar --name x
	in_x "$(outside evil)"
	vm-image rm x
	tar -cPf link.tar out
	tar -rPf link.tar --transform "s,^a$,out/evil,S" a
	vm-image import link.tar --name x
	in_x "$(outside evil)"
	in_x /out | grep symlink
	vm-image rm x
	empty_zip "$(outside evil)" >abs.zip
	vm-image import abs.zip --name x
	in_x "$(outside evil)"
	[ -z "$(ls outside)" ]
}

@test "a kernel that is a link to the host's files is not taken from there" {
	mkdir -p root/boot
	cp "$(kernel)" secret
	ln -s "$PWD/secret" root/boot/vmlinuz-1
	echo x >root/boot/initrd.img-1
	tar -C root -cf t.tar .
	vm-image import t.tar --name x
	[ ! -e "$images/x/kernel" ]
}

@test "what is cut off is refused, wherever, in every compression" {
	mkdir root
	seq 1 30000 >root/a
	seq 30000 60000 >root/b
	tar -C root -cf t.tar .
	gzip -k t.tar
	xz -0 -k t.tar
	zstd -q t.tar
	for f in t.tar t.tar.gz t.tar.xz t.tar.zst; do
		size=$(stat -c %s "$f")
		for cut in 10 $((size / 3)) $((size - 12)); do
			# a tar that ends with some zeros less is whole
			[[ $f != t.tar || $cut -lt $((size / 2)) ]] || continue
			head -c "$cut" "$f" >"cut.$f"
			refused 13 damaged --format tree "cut.$f"
		done
		refused 13 damaged --format tree - <"cut.$f"
	done
	seq 1 300000 >d.raw
	truncate -s 4M d.raw
	qemu-img convert -O qcow2 d.raw q.qcow2
	size=$(stat -c %s q.qcow2)
	for cut in 60 65536 200000 $((size / 2)); do
		head -c "$cut" q.qcow2 >cut.qcow2
		run vm-image import cut.qcow2 --name x
		echo "$cut: $status $output"
		[[ $status == 6 || $status == 13 ]]
		[ -z "$(ls -A "$images")" ]
	done
}

@test "a qcow2 that names another file is 6, whatever it names" {
	truncate -s 1M base
	qemu-img create -q -f qcow2 -b "$PWD/base" -F raw back.qcow2
	qemu-img create -q -f qcow2 -u -F raw -b 'json:{"driver":"host_device","filename":"/dev/null"}' json.qcow2 1M
	qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on data.qcow2 1M
	for f in back json data; do
		refused 6 '' $f.qcow2
		refused 6 '' - <$f.qcow2
	done
	# it is a raw disk to who says so, and its bytes mean nothing
	vm-image import back.qcow2 --format raw --name x
	[ "$(vm-image ls -H -o format x)" = raw ]
}

# bomb COMPRESS PIECES [BYTE] : a tar of a file of so many times 64 MiB, whose
# pieces are compressed each
bomb() {
	local i
	truncate -s $((64 * $2))M file
	tar -cf - file 2>/dev/null | head -c 512 | $1
	head -c 64M /dev/zero | tr '\0' "${3:-\0}" | $1 >piece
	for ((i = 0; i < $2; i++)); do
		cat piece
	done
	head -c 10240 /dev/zero | $1
}

@test "a bomb of zeros takes no room, from gzip, xz and zstd" {
	before=$(used)
	bomb 'gzip -1' 8 >gz
	bomb 'xz -0' 8 >xz
	bomb 'zstd -q -1' $((${VM_BOMB_GIB:-10} * 16)) >zst
	for f in gz xz zst; do
		(($(stat -c %s $f) < 10 << 20))
		timeout 60 vm-image import $f --name $f
		(($(stat -c %b "$images/$f/disk") * 512 < 20 << 20))
		run -0 e2fsck -fn "$images/$f/disk"
	done
	(($(used) - before < 100000))
}

@test "a bomb of anything else ends with the disk that it was given" {
	bomb 'zstd -q -1' 64 A >bomb.zst
	(($(stat -c %s bomb.zst) < 2 << 20))
	(
		ulimit -f $((300 << 10))	# KiB: 300 MiB
		refused 6 'does not fit into a disk of 256M' bomb.zst --size 256M
	)
}
