# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lib.bash - what every test of the commands needs
#
#	load lib
#	setup() { scratch; }
#
# VM_BIN is the build; by default that of plain make. VM_ENGINE is what runs
# guests: kvm-any, for which the guests of a page are made, or qemu; by default
# the first that there is.

bats_require_minimum_version 1.5.0

VM_BIN=${VM_BIN:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build}

# A state directory and a current directory of this test's own.
scratch() {
	export PATH=$VM_BIN:$PATH VM_STATE=$BATS_TEST_TMPDIR/state LC_ALL=C
	[[ ${VM_ENGINE:-} ]] || { [[ -w /dev/kvm ]] && VM_ENGINE=kvm-any || VM_ENGINE=qemu; }
	export VM_ENGINE
	unset FAKES
	umask 022
	cd "$BATS_TEST_TMPDIR" || return 1
}

# fake NAME MODE : a process that is VM NAME to the commands (fakevm.c)
fake() {
	local i
	"$VM_BIN/tests/cli/fakevm" "$1" "$2" >"fake.$1" 3>&- &
	FAKES+=("$!")
	disown	# nobody is to hear how it ends
	for ((i = 0; i < 100; i++)); do
		[[ -s fake.$1 ]] && return 0
		sleep 0.05
	done
	return 1
}

# Ends what fake() started.
unfake() {
	[[ -z ${FAKES:-} ]] || kill -9 "${FAKES[@]}" 2>/dev/null || :
}

# serve : what is in www/, on $URL; who calls it ends the process $HTTPD
serve() {
	local port
	for port in {20817..21017}; do
		busybox httpd -f -p "127.0.0.1:$port" -h www 3>&- 2>/dev/null &
		HTTPD=$!
		sleep 0.2
		kill -0 "$HTTPD" 2>/dev/null && break
	done
	# shellcheck disable=SC2034	# tests fetch from there
	URL=http://127.0.0.1:$port
	export no_proxy=127.0.0.1
}

# col NAME COLUMN : one value, exact
col() { vm-ls -H -p -o "$2" "$1"; }

# A kernel: a guest of one page.
kernel() { echo "$VM_BIN/tests/guest/tiny"; }

# in_lines WORD... : what `output` should be
in_lines() { printf '%s\n' "$@"; }

# bzimage FILE BYTES : begins like a bzImage whose payload ends behind it
bzimage() {
	head -c "$2" /dev/zero >"$1"
	put "$1" $((0x1f1)) '\001'
	put "$1" $((0x1fe)) '\125\252'
	put "$1" $((0x202)) 'HdrS\017\002'
	put "$1" $((0x24c)) '\0\0\100\0'
}

# put FILE OFFSET BYTES : overwrites
put() {
	# shellcheck disable=SC2059	# the bytes are a format on purpose
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Skips where our hypervisor is wanted and there is no KVM at all.
need_kvm() {
	[[ -w /dev/kvm ]] || skip "no /dev/kvm that may be written"
}

# Skips unless mount namespaces may be made.
need_mounts() {
	unshare -m true 2>/dev/null || skip "no mount namespaces here (not root)"
}
