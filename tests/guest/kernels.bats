#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's kernels as they come, each way of entering them, few and many
# vCPUs, small and large memory: each row of two values meets each other one
# at least once. matrix.bats has them all.

load lib

setup_file() { guest_setup_file; }
teardown_file() { guest_teardown_file; }

# boots KERNEL FLAVOUR CPUS MEMORY MIB : to its init, which says what it has
boots() {
	vm-create k -c "$3" -m "$4" --kernel "$G/$1" --initrd "$G/initrd-$2.img" --append quiet
	vm-boot k
	see k 'guest# ' 180
	vm-console --log k >log
	read -r cpus mem < <(sed -n 's/.*cpus=\([0-9]*\) mem=\([0-9]*\) .*/\1 \2/p' log)
	[ "$cpus" = "$3" ]
	# what the kernel keeps for itself is not free memory
	((mem > $5 * 1024 * 3 / 4 - 65536 && mem <= $5 * 1024))
}

gone() {
	run -0 vm-stop -t 200 k
	vm-rm k
}

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }
teardown() { vm-rm --force k >/dev/null 2>&1 || :; }

@test "cloud bzImage, 1 vCPU, 128 MiB" {
	boots vmlinuz-cloud cloud 1 128M 128
	gone
}

@test "cloud vmlinux, 4 vCPUs, 5 GiB" {
	boots vmlinux-cloud cloud 4 5G 5120
	gone
}

@test "generic bzImage, 4 vCPUs, 128 MiB" {
	boots vmlinuz-generic generic 4 128M 128
	gone
}

@test "generic vmlinux, 1 vCPU, 1 GiB" {
	boots vmlinux-generic generic 1 1G 1024
	# its driver of the machine's generation has found it
	tell k 'ls /sys/bus/acpi/drivers/vmgenid'
	see k '(VMUT0001|QEMUVGID):00'
	gone
}

@test "a bzImage that was never unpacked is entered at its own 64-bit entry" {
	cp "$G/vmlinuz-cloud" k.img
	vm-create k -m 256M --kernel "$PWD/k.img" --initrd "$G/initrd-cloud.img" --append quiet
	rm -r "$VM_STATE"/cache/*
	vm-boot k
	see k 'guest# ' 240
	gone
}

@test "the console on virtio: login, typed lines, a reboot from inside" {
	vm-create k -m 256M --console virtio --kernel "$G/vmlinux-cloud" \
		--initrd "$G/initrd-cloud.img" --append quiet
	vm-boot k
	see k 'guest# ' 180
	tell k 'echo "sum $((40 + 2)) $(cat /sys/class/tty/console/active)"'
	see k 'sum 42 hvc0'
	tell k 'reboot -f'
	for _ in {1..100}; do [ "$(col k boots)" = 2 ] && break; sleep 0.2; done
	[ "$(col k boots)" = 2 ]
	see k 'guest# ' 180
	gone
}

@test "disks: raw file and host block device, read only, serial number, flush" {
	truncate -s 64M a.img b.img
	echo from-the-host | dd of=b.img conv=notrunc status=none
	modprobe loop 2>/dev/null || :
	loop=$(losetup --find --show a.img)
	vm-create k -m 256M --kernel "$G/vmlinux-cloud" --initrd "$G/initrd-cloud.img" \
		--append quiet --disk "$loop,serial=first" --disk "$PWD/b.img,ro" --disk 16M
	vm-boot k
	see k 'guest# ' 180
	tell k 'cat /sys/block/vda/serial; echo; cat /sys/block/vdb/ro /sys/block/vdc/size'
	see k 'first'
	see k $'^1\r?$'
	see k '32768'
	tell k 'head -c 13 /dev/vdb; echo; echo x >/dev/vdb || echo "refused $((40 + 2))"'
	see k 'from-the-host'
	see k 'refused 42'
	tell k 'yes vmutils | dd of=/dev/vda bs=1M count=8 iflag=fullblock conv=fsync && echo "written $((40 + 2))"'
	see k 'written 42' 60
	[ "$(yes vmutils | head -c 8M | sha256sum)" = "$(head -c 8M a.img | sha256sum)" ] ||
		[ "$(yes vmutils | head -c 8M | sha256sum)" = "$(head -c 8M "$loop" | sha256sum)" ]
	gone
	losetup -d "$loop"
}

@test "a layer over an image: what the guest writes is its own, the rest the image's" {
	yes vmutils | head -c 64M >base.img
	vm-image import base.img --format raw
	vm-create k -m 256M --image base --kernel "$G/vmlinux-cloud" \
		--initrd "$G/initrd-cloud.img" --append quiet
	vm-boot k
	see k 'guest# ' 180
	tell k 'yes guest | dd of=/dev/vda bs=1000k count=3 seek=7 iflag=fullblock conv=fsync && echo "written $((40 + 2))"'
	see k 'written 42' 60
	tell k 'sha256sum /dev/vda'
	yes guest | head -c 3072000 | dd of=base.img bs=1000k seek=7 conv=notrunc status=none
	see k "$(sha256sum <base.img | cut -d ' ' -f 1)" 60
	# a reset takes nothing from a disk, synced or not
	tell k 'yes unsynced | dd of=/dev/vda bs=4k count=256 seek=4000 iflag=fullblock oflag=direct && echo "on disk $((40 + 2))"'
	see k 'on disk 42' 60
	yes unsynced | head -c 1M | dd of=base.img bs=4k seek=4000 conv=notrunc status=none
	run -0 vm-reset --hard k
	see k 'guest# ' 180
	tell k 'sha256sum /dev/vda'
	see k "$(sha256sum <base.img | cut -d ' ' -f 1)" 60
	run -0 vm-stop -t 200 k
	layer=$VM_STATE/vms/k/disk/disk0.qcow2
	run -0 qemu-img check "$layer"
	qemu-img compare base.img "$layer"
	(($(stat -c %b "$layer") * 512 < 8000000))
	vm-rm k
	vm-image rm base
}

@test "a panic with panic=1 reboots; sysrq crash is a reset, not an end" {
	vm-create k -m 256M --kernel "$G/vmlinux-cloud" --initrd "$G/initrd-cloud.img" \
		--append 'quiet panic=1'
	vm-boot k
	see k 'guest# ' 180
	tell k 'echo c >/proc/sysrq-trigger'
	for _ in {1..150}; do [ "$(col k boots)" = 2 ] && break; sleep 0.2; done
	[ "$(col k boots)" = 2 ]
	see k 'guest# ' 180
	vm-stop --now k
	vm-rm k
}

@test "eight at once from one pipe; kill -9 of one is nobody else's business" {
	run -0 bash -c 'vm-create a{1..8} -m 128M --kernel "$0/vmlinux-cloud" \
		--initrd "$0/initrd-cloud.img" --append "quiet test.cmd=login" |
		vm-boot | vm-wait --for login -t 800 | vm-ls -H -o name,state -' "$G"
	[ "${#lines[@]}" = 8 ]
	[ "$(grep -c running <<<"$output")" = 8 ]
	before=$(vm-ls -H -p -o name,pid,boots | grep -v '^a3')
	kill -9 "$(col a3 pid)"
	run -0 vm-wait a3 --for stopped -t 40
	[ "$(col a3 state)" = stopped ]
	[ "$(vm-ls -H -p -o name,pid,boots | grep -v '^a3')" = "$before" ]
	run -0 bash -c 'vm-boot a3 | vm-wait --for login -t 600'
	[ "$(vm-ls -q -f state=running | wc -l)" = 8 ]
	run -0 bash -c 'vm-ls -q | vm-rm --force -'
}
