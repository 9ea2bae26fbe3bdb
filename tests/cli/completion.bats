#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The completions really complete.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	comp=$BATS_TEST_DIRNAME/../../completions
}

# complete_bash WORD... : what bash offers for the last word, sorted
complete_bash() {
	bash -c '
		source "$1/vm.bash" || exit 1
		shift
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		_vm 2>/dev/null
		printf "%s\n" "${COMPREPLY[@]}" | sort' bash "$comp" "$@" | tr '\n' ' '
}

# offers WANT WORD... : by bash
offers() {
	local want=$1
	shift
	[ "$(complete_bash "$@")" = "$want " ] || {
		echo "bash offers: $(complete_bash "$@")"
		return 1
	}
}

@test "bash: commands, options and VMs" {
	vm-create web1 web2 db
	offers "create" vm cr
	offers "--memory" vm-create --mem
	offers "--memory" vm create --mem
	offers "db web1 web2" vm-rm ''
	offers "web1 web2" vm rm w
	offers "web1 web2" vm-rm --force db w
}

@test "bash: values by their kind" {
	vm-create --state other elsewhere
	touch file1 file2
	offers "file1 file2" vm-create a --kernel 'fi'
	offers "file1 file2" vm-create a --kernel = 'fi'
	offers "serial virtio" vm-create --console ''
	offers "virtio" vm-create --console = v
	offers "elsewhere" vm-rm --state other ''
	offers "memory" vm-ls -s mem
	offers "name,memory" vm-ls -o name,mem
	offers "" vm-create --memory ''
}

@test "bash: keys of the config and their values" {
	vm-create web1
	offers "web1" vm-set ''
	offers "memory=" vm-set web1 mem
	offers "serial virtio" vm-set web1 console =
	offers "virtio" vm-set web1 console = v
	touch kernel1
	offers "kernel1" vm-set web1 kernel = ker
	offers "memory=" vm-create --set mem
}

@test "fish: options, values and VMs" {
	command -v fish >/dev/null || skip "no fish"
	vm-create web1 web2
	f() { HOME=$PWD fish --no-config -c "source $comp/vm.fish; complete -C '$1'" | cut -f 1 | sort | tr '\n' ' '; }
	[ "$(f 'vm cr')" = "create " ]
	[ "$(f 'vm-create --mem')" = "--memory " ]
	[ "$(f 'vm create --mem')" = "--memory " ]
	[ "$(f 'vm-rm w')" = "web1 web2 " ]
	[ "$(f 'vm-create --console ')" = "serial virtio " ]
}

@test "zsh: reads the file and completes options and VMs" {
	command -v zsh >/dev/null || skip "no zsh"
	vm-create web1
	cat >try.zsh <<-EOF
	# shows TEXT : whether it comes up on the screen
	shows() {
		local i out all
		for i in {1..100}; do
			while zpty -rt z out; do all+=\$out; done
			[[ \$all == *\$1* ]] && print yes && return
			sleep 0.1
		done
		print no
	}
	zmodload zsh/zpty
	zpty -b z env HOME=$PWD TERM=dumb PATH=$PATH VM_STATE=$VM_STATE zsh -f -i
	zpty -w z "PS1=; fpath=($comp \\\$fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy"
	shows ready
	zpty -w -n z \$'vm-create --mem\\t'
	shows --memory
	zpty -w z \$'\\x15'
	zpty -w -n z \$'vm-rm we\\t'
	shows web1
	EOF
	run -0 timeout 40 zsh -f try.zsh
	[ "$output" = "$(in_lines yes yes yes)" ]
}
