#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images of containers and directories, made by the tools others use, become
# disks that hold the very same files.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	for tool in umoci skopeo docker-registry; do
		command -v $tool >/dev/null || skip "no $tool"
	done
}

teardown() {
	[[ -z ${REGISTRY:-} ]] || kill "$REGISTRY" 2>/dev/null || :
}

# registry : one of this test's own, at $HOST, until the test ends
registry() {
	local port i
	for port in {21817..21917}; do
		(exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
		HOST=127.0.0.1:$port
		cat >registry.yml <<-END
			version: 0.1
			log: {level: error, accesslog: {disabled: true}}
			storage: {filesystem: {rootdirectory: $PWD/registry}}
			http: {addr: "$HOST"}
		END
		timeout 120 docker-registry serve registry.yml >registry.log 2>&1 3>&- &
		REGISTRY=$!
		for ((i = 0; i < 100; i++)); do
			kill -0 $REGISTRY 2>/dev/null || break
			(exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break 2
			sleep 0.1
		done
	done
	export no_proxy=127.0.0.1
}

# tree : root/, files of every kind, with the guest of a page as a kernel
tree() {
	mkdir -p root/{boot,dev,etc/deep/er,old/in,usr/bin}
	cp "$(kernel)" root/boot/vmlinuz-6.1.0-1
	echo hello >root/etc/hello
	echo gone >root/etc/gone
	echo old >root/old/in/file
	echo deep >root/etc/deep/er/file
	ln root/etc/hello root/usr/hard
	ln -s usr/bin root/bin
	chmod 751 root/etc/hello
	truncate -s 1M root/sparse
	echo end >>root/sparse
	mkfifo root/dev/fifo
	[[ $EUID -ne 0 ]] || chown -h 7:8 root/etc/gone root/bin
}

# insert ARG... : into the image lay:t
insert() {
	local as=()
	[[ $EUID -eq 0 ]] || as=(--rootless)
	umoci insert "${as[@]}" --image lay:t "$@" >/dev/null
}

# layout : lay/, of the tree, with layers over it that replace, remove and hide
layout() {
	umoci init --layout lay
	umoci new --image lay:t
	insert root /
	echo changed >root/etc/hello.new
	insert root/etc/hello.new /etc/hello
	insert --whiteout /etc/gone
	mkdir opaque
	echo own >opaque/own
	insert --opaque opaque /old
	rm root/etc/hello.new
}

# merged : root/ becomes what the layers are together
merged() {
	rm -r root/etc/gone root/old root/etc/hello
	echo changed >root/etc/hello
	mkdir root/old
	cp opaque/own root/old
}

# list DIR : its files as far as debugfs keeps them
list() {
	(cd "$1" && find . -mindepth 1 -not -path './lost+found*' -not -type p \
		-printf '%p %y %m %l\n' | LC_ALL=C sort)
}

# same IMAGE DIR : the image's disk is sound and holds what DIR does (rdump
# keeps neither set-user-ID nor, here, FIFOs)
same() {
	local disk=$VM_STATE/images/$1/disk
	e2fsck -fn "$disk" >/dev/null 2>&1
	rm -rf out
	mkdir out
	debugfs -R 'rdump / out' "$disk" 2>/dev/null
	diff <(list "$2") <(list out)
	(cd "$2" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >want
	(cd out && sha256sum --quiet -c ../want)
}

@test "an image from a registry, a layout and archives is one disk: the layers together" {
	tree
	layout
	merged
	registry
	skopeo copy -q --dest-tls-verify=false oci:lay:t "docker://$HOST/me/img:one"
	skopeo copy -q --dest-tls-verify=false --format v2s2 oci:lay:t "docker://$HOST/img"
	skopeo copy -q oci:lay:t docker-archive:docker.tar:img:one
	skopeo copy -q oci:lay:t oci-archive:oci.tar
	digest=sha256:$(jq -r '.manifests[0].digest' lay/index.json | cut -d : -f 2)
	run -0 --separate-stderr vm-image pull "oci:$HOST/me/img:one"
	[ "$output" = img ]
	[ -z "$stderr" ]
	[ "$(vm-image ls -H -o digest,source,kernel img)" = "$digest"$'\t'"oci:$HOST/me/img:one"$'\tyes' ]
	vm-image pull "oci:$HOST/me/img@$digest" --name digest
	vm-image pull "oci:$HOST/img" --name docker
	vm-image import lay --size 2G
	vm-image import docker.tar --name tar
	vm-image import - --name oci <oci.tar
	gzip <docker.tar | vm-image import - --name gz
	zstd -q <oci.tar | vm-image import - --name zst
	for name in img digest docker lay tar oci gz zst; do
		same "$name" root
		cmp "$(kernel)" "$VM_STATE/images/$name/kernel"
	done
	debugfs -R 'stat /usr/hard' "$VM_STATE/images/img/disk" 2>/dev/null | grep -q 'Type: regular'
	[ "$(vm-image ls -H -p -o size lay)" = $((2 << 30)) ]
	[ "$(find "$VM_STATE/images" -mindepth 1 -maxdepth 1 | wc -l)" = 8 ]
}

@test "what the registry has not, or not for us, leaves nothing behind" {
	tree
	layout
	registry
	skopeo copy -q --dest-tls-verify=false oci:lay:t "docker://$HOST/img"
	umoci config --image lay:t --architecture arm64
	skopeo copy -q --dest-tls-verify=false oci:lay:t "docker://$HOST/arm"
	run -1 vm-image pull "oci:$HOST/none"
	run -1 vm-image pull "oci:$HOST/img:none"
	run -6 vm-image pull "oci:$HOST/arm"
	[[ $output == *"is for linux/arm64, not linux/amd64" ]]
	run -6 vm-image import lay
	run -2 vm-image pull "oci:$HOST/../img"
	run -2 vm-image pull "oci:$HOST/img" --checksum "sha256:$(printf %064d 0)"
	[ -z "$(ls -A "$VM_STATE/images")" ]
	# a layer that is not what its name says, of the same size
	blob=$(find registry -size +2k -path '*/blobs/*' -name data | head -n 1)
	put "$blob" 100 'damage'
	run -13 vm-image pull "oci:$HOST/img"
	[[ $output == *"damaged or changed"* ]]
	[ -z "$(ls -A "$VM_STATE/images")" ]
	kill "$REGISTRY"
	run -75 vm-image pull "oci:$HOST/img"
}

@test "a layout and an archive that miss something, or hold several, are refused" {
	tree
	layout
	tar -C lay -cf lay.tar .
	umoci tag --image lay:t two
	vm-image import lay --name same
	insert --whiteout /etc
	run -6 vm-image import lay
	[[ $output == *"holds several images"* ]]
	umoci rm --image lay:two
	rm "$(find lay/blobs -type f -size +2k | head -n 1)"
	run -13 vm-image import lay
	[[ $output == *"is missing" ]]
	tar -C lay -cf cut.tar .
	run -13 vm-image import cut.tar
	vm-image import lay.tar
	run -0 vm-image import lay --name plain --format tree
	run -0 debugfs -R 'cat /oci-layout' "$VM_STATE/images/plain/disk"
	[[ $output == *imageLayoutVersion* ]]
	[ "$(vm-image ls -q | wc -l)" = 3 ]
}

@test "a directory becomes a disk that holds what it does" {
	tree
	run -0 --separate-stderr vm-image import root/
	[ "$output" = root ]
	[ -z "$stderr" ]
	same root root
	cmp "$(kernel)" "$VM_STATE/images/root/kernel"
	disk=$VM_STATE/images/root/disk
	debugfs -R 'stat /etc/hello' "$disk" 2>/dev/null | grep -q 'Links: 2'
	debugfs -R 'stat /dev/fifo' "$disk" 2>/dev/null | grep -q 'Type: FIFO'
	debugfs -R 'stat /etc/gone' "$disk" 2>/dev/null |
		grep -qE "User: +$(stat -c %u root/etc/gone) +Group: +$(stat -c %g root/etc/gone)"
	(($(stat -c %b "$disk") * 512 < 2000000))
	mkdir empty
	run -6 vm-image import empty
	run -6 vm-image import root --name x --format raw
	[ "$(vm-image ls -q)" = root ]
}
