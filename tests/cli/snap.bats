#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-snap, vm-rollback and vm-clone of VMs that are stopped; those that run are
# in live.bats and tests/guest/snap.bats.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	V=$VM_STATE/vms
}

# put VM BYTE AT : 64 KiB of BYTE into its first disk, at AT KiB
put() {
	local disk
	disk=$V/$1/$(sed -n 's/^disk0=\([^,]*\).*/\1/p' "$V/$1/config")
	qemu-io -f "${disk##*.}" -c "write -q -P $2 ${3}k 64k" "$disk" >/dev/null
}

# has DISK BYTE AT : whether that is there, in a disk seen through its chain
has() {
	qemu-io -r -f "${1##*.}" -c "read -q -P $2 ${3}k 64k" "$1"
}

# top VM [CONFIG] : its first disk's path
top() { echo "$V/$1/$(sed -n 's/^disk0=\([^,]*\).*/\1/p' "${2:-$V/$1/config}")"; }

# was VM SNAP : the same at the snapshot
was() { top "$1" "$V/$1/snap/$2/config"; }

@test "a snapshot keeps what is there, whatever comes after" {
	vm-create a --disk 1M
	put a 1 0
	run -0 vm-snap a -n one
	[ "$output" = a@one ]
	put a 2 0
	put a 3 64
	run -0 vm-snap -n two a
	[ "$output" = a@two ]
	put a 4 0
	has "$(was a one)" 1 0
	has "$(was a one)" 0 64
	has "$(was a two)" 2 0
	has "$(was a two)" 3 64
	has "$(top a)" 4 0
	has "$(top a)" 3 64
	qemu-img check -q "$(top a)"
}

@test "its name is the time, and several within a second differ" {
	vm-create a
	run -0 bash -c 'for i in 1 2 3; do vm-snap a; done'
	[[ ${lines[0]} =~ ^a@20[0-9]{6}-[0-9]{6}$ ]]
	[ "$(sort -u <<<"$output" | wc -l)" = 3 ]
	run -12 vm-snap a -n "${lines[0]#a@}"
	run -2 vm-snap a -n ../x
	run -2 vm-snap a -n 'a b'
	run -10 vm-snap b
}

@test "vm-rollback: disks and config are what they were, and what was is kept" {
	vm-create a --disk 1M -m 64M
	put a 1 0
	vm-snap a -n one
	put a 2 0
	vm-set a memory=128M
	run -0 vm-rollback a@one
	[ "$output" = a ]
	has "$(top a)" 1 0
	[ "$(col a memory)" = $((64 << 20)) ]
	kept=$(find "$V/a/snap" -mindepth 1 -maxdepth 1 -name '2*' -printf %f)
	has "$(was a "$kept")" 2 0
	grep -q 'note=before the rollback to one' "$V/a/snap/$kept/meta"
	# what is written now is in neither
	put a 5 0
	has "$(was a one)" 1 0
	has "$(was a "$kept")" 2 0
	run -0 vm-rollback "a@$kept"
	has "$(top a)" 2 0
	[ "$(col a memory)" = $((128 << 20)) ]
}

@test "vm-rollback --destructive keeps nothing of what was" {
	vm-create a --disk 1M
	vm-snap a -n one
	put a 2 0
	vm-rollback --destructive a@
	has "$(top a)" 0 0
	[ "$(find "$V/a/snap" -mindepth 1 -maxdepth 1 -type d -printf %f)" = one ]
	run -2 vm-rollback a
	run -10 vm-rollback a@two
	run -10 vm-rollback b@one
	run -2 vm-rollback </dev/null
}

@test "a clone is what its source is, and neither knows of the other's writes" {
	vm-create a --disk 1M -m 64M
	put a 1 0
	run -0 vm-clone a b c
	[ "$output" = $'b\nc' ]
	put a 2 0
	put b 3 0
	put c 4 64
	has "$(top a)" 2 0
	has "$(top b)" 3 0
	has "$(top c)" 1 0
	has "$(top c)" 4 64
	has "$(top b)" 0 64
	[ "$(head -n 1 "$V/b/config")" = "# b" ]
	[ "$(col b memory)" = $((64 << 20)) ]
	# what they share takes its room once, and stays when the source goes
	vm-rm a
	has "$(top c)" 1 0
	run -12 vm-clone b c
	run -0 vm-clone --if-missing b c d
	run -10 vm-clone x y
	run -2 vm-clone
	run -2 vm-clone b </dev/null
}

@test "a clone of a snapshot, names from a pipe" {
	vm-create a --disk 1M
	put a 1 0
	vm-snap a -n one
	put a 2 0
	run -0 bash -c 'echo b | vm-clone a@one'
	[ "$output" = b ]
	has "$(top b)" 1 0
	run -10 vm-clone a@two c
}

@test "a clone's seed for cloud-init is its own" {
	echo 'ssh-ed25519 AAAAC3Nz me' >key
	vm-create a --disk 1M --ssh-key key
	vm-clone a b
	isoinfo() { strings "$V/$1/disk/seed.iso" | grep -e instance-id -e local-hostname -e AAAA; }
	[[ $(isoinfo a) == *'local-hostname: "a"'*AAAAC3Nz* ]]
	[[ $(isoinfo b) == *'local-hostname: "b"'*AAAAC3Nz* ]]
	[ "$(isoinfo a | grep instance-id)" != "$(isoinfo b | grep instance-id)" ]
}

@test "a layer over an image is snapshotted and cloned like any" {
	yes x | head -c 1M >x.img
	vm-image import x.img --format raw --name x
	vm-create a --image x --disk 2M
	vm-snap a -n one
	put a 1 0
	vm-clone a b
	has "$(top b)" 1 0
	cmp <(qemu-img convert -O raw "$(was a one)" /dev/stdout 2>/dev/null | head -c 1M) x.img ||
		{ qemu-img convert -O raw "$(was a one)" one.raw; cmp -n $((1 << 20)) one.raw x.img; }
	run -11 vm-image rm x
}

@test "a disk outside of the VM's directory gets its layers inside" {
	truncate -s 1M out.img
	qemu-io -f raw -c 'write -q -P 7 0 64k' out.img
	vm-create a --disk "$PWD/out.img,serial=me"
	vm-snap a -n one
	grep -q '^disk0=disk/.*serial=me' "$V/a/config"
	put a 2 0
	has "$(top a)" 2 0
	qemu-io -r -f raw -c 'read -q -P 7 0 64k' out.img
	vm-rollback --destructive a@one
	has "$(top a)" 7 0
}

@test "a disk that is read-only stays as it is" {
	truncate -s 1M ro.img
	vm-create a --disk "$PWD/ro.img,ro" --disk 1M
	vm-snap a -n one
	grep -q "^disk0=$PWD/ro.img" "$V/a/config"
}

@test "--unless-newer-than: no second one, and no failure" {
	vm-create a b
	run -0 vm-snap a -n one --unless-newer-than 1h
	run -0 vm-snap a b --unless-newer-than 1h
	[[ ${#lines[@]} = 1 && $output == b@* ]]
	sed -i 's/^created=.*/created=1000/' "$V/a/snap/one/meta"
	run -0 vm-snap a --unless-newer-than 1h
	[[ $output == a@* ]]
}

@test "--note and --protect are kept" {
	vm-create a
	vm-snap a -n one --note 'before = the upgrade' --protect
	grep -q '^note=before = the upgrade$' "$V/a/snap/one/meta"
	grep -q '^protected=yes$' "$V/a/snap/one/meta"
	run -2 vm-snap a --note $'two\nlines'
}

@test "names from a pipe, names to a pipe, and a reader that left" {
	vm-create a b c --disk 1M
	run -0 bash -c 'vm-ls -q | vm-snap -n x | sort'
	[ "$output" = $'a@x\nb@x\nc@x' ]
	run -1 bash -c 'vm-snap a >/dev/full'
	run -3 --separate-stderr vm-snap a nothing -n y
	[ "$output" = a@y ]
}

@test "a full host: no snapshot, no debris, and the VM as before" {
	((EUID == 0)) || skip "the full file system is a mount: not root"
	mkdir small
	mount -t tmpfs -o size=2M small small
	export VM_STATE=$PWD/small/state
	V=$VM_STATE/vms
	vm-create a --disk 512K
	put a 1 0
	dd if=/dev/zero of=small/fill bs=4k status=none || :
	run -1 --separate-stderr vm-snap a -n one
	[[ $stderr == *"No space left"* ]]
	ls "$V/a/disk" >after
	rm small/fill
	has "$(top a)" 1 0
	[ ! -e "$V/a/snap/one" ]
	vm-snap a -n one
	has "$(was a one)" 1 0
	umount small
}
