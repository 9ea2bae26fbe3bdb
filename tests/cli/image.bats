#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images: brought in, listed, given out, removed; VMs that begin with one.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() { scratch; }

teardown() {
	[[ ! -d ${VM_STATE:-} ]] || vm-ls -q 2>/dev/null | vm-rm --force - >/dev/null 2>&1 || :
	[[ -z ${HTTPD:-} ]] || kill "$HTTPD" 2>/dev/null || :
}

# nothing : no image is there, nor a part of one
nothing() { [ -z "$(ls -A "$VM_STATE/images" 2>/dev/null)" ]; }

# tree : a rootfs as rootfs.tar, with the guest of a page as its kernel
tree() {
	mkdir -p root/{boot,dev,etc,usr/bin}
	cp "$(kernel)" root/boot/vmlinuz-6.1.0-1
	cp "$(kernel)" root/boot/vmlinuz-6.1.0-10
	echo old >root/boot/initrd.img-6.1.0-1
	echo new >root/boot/initrd.img-6.1.0-10
	echo hello >root/etc/hello
	ln -s usr/bin root/bin
	tar -C root --owner 7 --group 8 -cf rootfs.tar .
}

# disk : d.raw, 4 MiB with data here and there, that tells its kind
disk() {
	truncate -s 4M d.raw
	put d.raw 510 '\125\252'
	echo here | dd of=d.raw bs=1 seek=1000000 conv=notrunc status=none
	echo there | dd of=d.raw bs=1 seek=4000000 conv=notrunc status=none
}

@test "a tree becomes an ext4 disk that keeps what it had, with its newest kernel" {
	tree
	run -0 vm-image import rootfs.tar
	[ "$output" = rootfs ]
	img=$VM_STATE/images/rootfs
	run -0 e2fsck -fn "$img/disk"
	[ "$(debugfs -R 'cat /etc/hello' "$img/disk" 2>/dev/null)" = hello ]
	debugfs -R 'stat /etc/hello' "$img/disk" 2>/dev/null | grep -qE 'User: +7 +Group: +8'
	cmp "$(kernel)" "$img/kernel"
	[ "$(cat "$img/initrd")" = new ]
	run -0 vm-image ls -H -o name,format,kernel,append,source
	[ "$output" = $'rootfs\traw\tyes\troot=/dev/vda rw\trootfs.tar' ]
}

@test "the same from a pipe, compressed or not" {
	tree
	vm-image import - --name a <rootfs.tar
	cat rootfs.tar | vm-image import - --name b
	zstd -q <rootfs.tar | vm-image import - --name c
	gzip <rootfs.tar >t.tgz
	vm-image import t.tgz --name d --size 2G
	for name in a b c d; do
		run -0 e2fsck -fn "$VM_STATE/images/$name/disk"
		cmp "$(kernel)" "$VM_STATE/images/$name/kernel"
	done
	[ "$(vm-image ls -H -p -o size d)" = $((2 << 30)) ]
}

@test "raw and qcow2 disks go in and out unchanged, holes stay holes" {
	disk
	qemu-img convert -O qcow2 d.raw q.qcow2
	vm-image import d.raw
	vm-image import q.qcow2
	cat d.raw | vm-image import - --name p
	for name in d q p; do
		vm-image export "$name" | cmp - d.raw
		vm-image export "$name" --output "$name.out"
		cmp "$name.out" d.raw
		(($(stat -c %b "$name.out") * 512 < 200000))
		vm-image export "$name" --format qcow2 --output "$name.q"
		qemu-img compare d.raw "$name.q"
		run -0 qemu-img check "$name.q"
	done
	(($(stat -c %b "$VM_STATE/images/d/disk") * 512 < 200000))
	[ "$(vm-image ls -H -o name,format q)" = $'q\tqcow2' ]
	run -12 vm-image export d --output d.out
}

@test "a disk of part of a sector more keeps it, however it comes" {
	disk
	echo tail >>d.raw
	vm-image import d.raw
	cat d.raw | vm-image import - --name p
	cp d.raw want
	truncate -s %512 want
	for name in d p; do
		vm-image export "$name" | cmp - want
	done
}

@test "a VM begins with an image, on a layer of its own" {
	tree
	vm-image import rootfs.tar
	run -0 vm-create w1 w2 --image rootfs -m 16M --disk 3G
	[ "$(vm-ls -H -o disk w1)" = 3G ]
	(($(stat -c %b "$VM_STATE/vms/w1/disk/disk0.qcow2") * 512 < 3000000))
	vm-create w0 --image rootfs
	(($(stat -c %b "$VM_STATE/vms/w0/disk/disk0.qcow2") * 512 < 400000))
	run -0 qemu-img compare "$VM_STATE/images/rootfs/disk" "$VM_STATE/vms/w0/disk/disk0.qcow2"
	vm-boot w1 w2 | vm-wait --for login -t 20
	run -0 vm-stop -t 20 w1 w2
	run -0 qemu-img check "$VM_STATE/vms/w1/disk/disk0.qcow2"
	run -6 vm-create w3 --image rootfs --disk 1M
	[[ $output == *"smaller than the image's disk"* ]]
	run -10 vm-create w3 --image other
	run -10 vm-ls w3
}

@test "the file system of an image made of a tree is as large as the VM's disk" {
	tree
	vm-image import rootfs.tar
	grep -qx filesystem=ext4 "$VM_STATE/images/rootfs/meta"
	vm-create w1 w2 w3 w4 --image rootfs --disk 20G
	vm-create w5 --image rootfs --disk 3001M
	for name in w1 w3 w5; do
		disk=$VM_STATE/vms/$name/disk/disk0.qcow2
		run -0 qemu-img check "$disk"
		qemu-img convert -O raw "$disk" grown
		run -0 e2fsck -fn grown
		dumpe2fs -h grown 2>&1 | grep -qE "^Block count: +$(($(col $name disk) / 4096))$"
		[ "$(debugfs -R 'cat /etc/hello' grown 2>/dev/null)" = hello ]
		rm grown
	done
	run -0 qemu-img compare "$VM_STATE/vms/w2/disk/disk0.qcow2" "$VM_STATE/vms/w4/disk/disk0.qcow2"
	run -0 e2fsck -fn "$VM_STATE/images/rootfs/disk"
}

@test "an image that is not what its record says makes no larger VM, and says so" {
	tree
	vm-image import rootfs.tar
	debugfs -wR 'ssv feature_incompat 0x2c6' "$VM_STATE/images/rootfs/disk" 2>/dev/null
	run -6 vm-create w1 --image rootfs --disk 3G
	[ "$output" = "vm-create: w1: image rootfs: its ext4 was not unmounted" ]
	run -10 vm-ls w1
	sed -i /filesystem/d "$VM_STATE/images/rootfs/meta"
	run -0 vm-create w1 --image rootfs --disk 3G
	disk
	vm-image import d.raw
	run -0 vm-create w2 --image d --disk 3G
	[ "$output" = w2 ]
}

# names FILE : what a tar holds, but the times and sizes of directories
names() { tar --numeric-owner --full-time -tvf "$1" | sed 's/^d\([^ ]*\) \([^ ]*\) .* /d\1 \2 /' | sort -k 6; }

@test "the files of an image come out as they went in, and the same bytes each time" {
	tree
	mkdir -p root/a/b/c/d
	echo deep >root/a/b/c/d/file
	ln root/a/b/c/d/file root/hard
	ln -s /etc/hello root/a/link
	mkfifo root/pipe
	echo odd >$'root/a/new\nline' && echo odd >"root/a/ *?\\" && echo odd >"root/a/grÃ¼"
	truncate -s 10M root/sparse
	echo end >>root/sparse
	chmod 4750 root/etc/hello
	tar -C root --sort=name -cSf in.tar --format=pax --owner 70000 --group 8 \
		--pax-option='exthdr.name=%d/x/%f,SCHILY.xattr.user.color:=blue' .
	vm-image import in.tar --name one
	debugfs -R 'ea_list /etc/hello' "$VM_STATE/images/one/disk" 2>/dev/null | grep -q 'user.color (4) = "blue"'
	vm-image export one --format tar --output out.tar
	diff <(names in.tar) <(names out.tar)
	vm-image export one --format tar | cmp - out.tar
	(($(stat -c %s out.tar) < 1000000))
	mkdir x
	tar -C x --no-same-owner -xf out.tar
	rm root/pipe x/pipe	# diff takes pipes for different
	diff -r --no-dereference root x
	vm-image import out.tar --name two --size 3G
	vm-image export two --format tar | cmp - out.tar
	run -12 vm-image export one --format tar --output out.tar
	run -2 vm-image export one --format zip
}

@test "the root file system is found in a qcow2 image, and behind a boot partition" {
	tree
	tar -C root/boot -cf boot.tar .
	vm-image import rootfs.tar --size 64M
	vm-image import boot.tar --size 64M
	vm-image export rootfs --format tar --output want.tar
	truncate -s 200M parts
	put parts 450 '\203\0\0\0\0\010\0\0\0\0\2\0'
	put parts 466 '\203\0\0\0\0\010\2\0\0\0\2\0'
	put parts 510 '\125\252'
	dd if="$VM_STATE/images/boot/disk" of=parts bs=1M seek=1 conv=notrunc,sparse status=none
	dd if="$VM_STATE/images/rootfs/disk" of=parts bs=1M seek=65 conv=notrunc,sparse status=none
	qemu-img convert -c -O qcow2 parts parts.qcow2
	vm-image import parts
	vm-image import parts.qcow2 --name q
	vm-image export parts --format tar | cmp - want.tar
	vm-image export q --format tar | cmp - want.tar
}

@test "no tar of what holds no files, of a damaged disk, or into a full file" {
	disk
	vm-image import d.raw
	run -1 vm-image export d --format tar --output out.tar
	[ "$output" = "vm-image: d: holds no ext4" ]
	[ ! -e out.tar ]
	tree
	vm-image import rootfs.tar
	run -1 bash -c 'vm-image export rootfs --format tar >/dev/full'
	[[ $output == *"writing: No space left on device" ]]
	vm-image export rootfs --format tar | head -c 1000 >/dev/null
	debugfs -wR 'link /etc /usr/bin/loop' "$VM_STATE/images/rootfs/disk" 2>/dev/null
	run -13 vm-image export rootfs --format tar --output out.tar
	[ "$output" = "vm-image: rootfs: ./usr/bin/loop: damaged ext4: a directory in two places" ]
	[ ! -e out.tar ]
}

@test "an image in use stays; removed with its last VM's end, nothing of it does" {
	disk
	vm-image import d.raw
	vm-create w1 --image d
	run -11 vm-image rm d
	[ "$output" = "vm-image: d: used by w1" ]
	vm-rm w1
	run -0 vm-image rm d
	nothing
	run -10 vm-image rm d
	run -10 vm-image export d
}

@test "what is no image is refused with a sentence, and nothing is left" {
	disk
	qemu-img create -q -f qcow2 -b "$PWD/d.raw" -F raw over.qcow2
	run -6 vm-image import over.qcow2
	[[ $output == *"rests on another image"* ]]
	qemu-img convert -O qcow2 d.raw q.qcow2
	head -c 100000 q.qcow2 >cut.qcow2
	run vm-image import cut.qcow2
	[[ $status == 6 || $status == 13 ]]
	echo 'just text' >text
	run -6 vm-image import text
	[[ $output == *"neither a disk nor an archive"* ]]
	: >empty
	run -6 vm-image import empty
	tree
	head -c 5000 rootfs.tar >cut.tar
	run -13 vm-image import cut.tar
	run -1 vm-image import none
	run -2 vm-image import - <d.raw
	run -2 vm-image import d.raw --name ../x
	run -2 vm-image ls --name x
	run -2 vm-image frob
	nothing
	vm-image import d.raw
	run -12 vm-image import d.raw
}

@test "an archive cannot reach outside, nor fill the host" {
	mkdir -p root/boot
	echo x >root/f
	tar -C root -cf evil.tar --transform 's,^f$,../../../../tmp/evil-vmutils,' f
	run -13 vm-image import evil.tar
	[[ $output == *"'..'"* ]]
	[ ! -e /tmp/evil-vmutils ]
	nothing
	truncate -s 100G bomb
	tar -cSf bomb.tar bomb
	before=$(df --output=used -k . | tail -n 1)
	run vm-image import bomb.tar
	(($(df --output=used -k . | tail -n 1) - before < 200000))
}

@test "pull: checked by what is published, or by what is given; then an image" {
	command -v busybox >/dev/null
	tree
	mkdir www
	cp rootfs.tar www/a.tar
	(cd www && sha256sum a.tar >SHA256SUMS)
	serve
	run -0 --separate-stderr vm-image pull "$URL/a.tar"
	[ "$output" = a ]
	[ -z "$stderr" ]
	[ "$(vm-image ls -H -o digest a)" = "sha256:$(sha256sum <rootfs.tar | cut -d ' ' -f 1)" ]
	run -12 vm-image pull "$URL/a.tar"
	echo more >>www/a.tar
	run -13 vm-image pull "$URL/a.tar" --name b
	[[ $output == *"its sum is sha256:"*", not sha256:"* ]]
	run -13 vm-image pull "$URL/a.tar" --name b --checksum "sha256:$(printf %064d 0)"
	run -1 vm-image pull "$URL/none.tar" --name b
	run -2 vm-image pull ftp://127.0.0.1/a.tar
	run -10 vm-image pull nonesuch
	[ "$(ls -A "$VM_STATE/images")" = a ]
	kill "$HTTPD"
	run -75 vm-image pull "$URL/a.tar" --name b
}

@test "pull of a disk, raw or qcow2, is the disk" {
	disk
	mkdir www
	cp d.raw www
	qemu-img convert -O qcow2 d.raw www/q.qcow2
	serve
	for file in d.raw q.qcow2; do
		vm-image pull "$URL/$file"
		vm-image export "${file%.*}" | cmp - d.raw
	done
	[ "$(ls -A "$VM_STATE/images")" = "$(in_lines d q)" ]
}

@test "pull by a name of one's own catalog" {
	tree
	mkdir www
	cp rootfs.tar www/a.tar
	serve
	vm-create x >/dev/null
	echo "mine $URL/a.tar sha256:$(sha256sum <rootfs.tar | cut -d ' ' -f 1) a test" >"$VM_STATE/catalog"
	run -0 vm-image pull mine
	[ "$output" = mine ]
}

@test "vm-set grows the file system with the disk of a VM at rest, if it still is one" {
	mkdir t
	echo hello >t/hello
	vm-image import t --name small >/dev/null
	vm-create a --image small --kernel "$(kernel)" >/dev/null
	run -0 --separate-stderr vm-set a disk0.size=5G
	[ -z "$stderr" ]
	qemu-img convert -O raw "$VM_STATE/vms/a/disk/disk0.qcow2" a.raw
	[ "$(stat -c %s a.raw)" = $((5 << 30)) ]
	run -0 e2fsck -fn a.raw
	run -0 --separate-stderr debugfs -R 'stats -h' a.raw
	[[ $output == *"Block count:"*" $(((5 << 30) / 4096))"$'\n'* ]]
	[ "$(debugfs -R 'cat hello' a.raw 2>/dev/null)" = hello ]
	qemu-io -c 'write -q -P 7 0 64k' -f qcow2 "$VM_STATE/vms/a/disk/disk0.qcow2"
	run -0 --separate-stderr vm-set a disk0.size=6G
	[[ $stderr == "vm-set: a: disk0: has grown, the file system on it has not: "* ]]
}

@test "a seed for cloud-init is a disk of its own" {
	disk
	vm-image import d.raw
	echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhP0xXkQ4cYQGdNSJ0qZJ6ZtX1cZf0mJH3u2Zk0x9aB me' >key.pub
	printf '#cloud-config\npackages: [nginx]\n' | vm-create w1 --image d --user-data - --ssh-key key.pub
	iso=$VM_STATE/vms/w1/disk/seed.iso
	[ "$(blkid -o value -s LABEL "$iso")" = CIDATA ]
	grep -q 'local-hostname: "\?w1' "$iso"
	grep -q 'packages: \[nginx\]' "$iso"
	grep -q AAAAIJhP0xXkQ4cYQGdNSJ0qZJ6ZtX1cZf0mJH3u2Zk0x9aB "$iso"
	grep -q '^disk1=disk/seed.iso,format=raw,ro$' "$VM_STATE/vms/w1/config"
	run -2 vm-create w2 --image d --ssh-key d.raw
	run -10 vm-ls w2
}

@test "a disk that names files of its own choice is opened by no engine" {
	echo secret >secret
	truncate -s 1M secret
	qemu-img create -q -f qcow2 -o data_file=d.data,data_file_raw=on data.qcow2 1M
	qemu-img create -q -f qcow2 -b "$PWD/secret" -F raw over.qcow2
	qemu-img create -q -f qcow2 good.qcow2 1M
	vm-create w1 -m 16M --kernel "$(kernel)" --disk "$PWD/good.qcow2,format=qcow2"
	for bad in data over; do
		run -6 vm-create w2 --kernel "$(kernel)" --disk "$PWD/$bad.qcow2,format=qcow2"
		cp "$bad.qcow2" good.qcow2
		for engine in $([[ -w /dev/kvm ]] && echo kvm-any) qemu; do
			run -6 vm-boot --engine "$engine" w1
			[[ $output == *good.qcow2* ]]
		done
	done
	[ "$(vm-ls -H -o state w1)" = stopped ]
}
