/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_save.h - the guest's memory written to a file, while the guest goes on.
 *
 * Theory: fork() gives a child the memory as it is at that instant, for the
 * price of its page tables; what guest and devices write afterwards is
 * copied, page by page, by the host. So the guest stands still for the fork
 * alone, and the child writes at its leisure:
 *
 *	the file	RAM ranges one after the other, as mem_map() takes it.
 *			Pages that were never touched or hold zeros are holes.
 *
 * Which pages were touched the kernel tells (/proc/self/pagemap). Of a memory
 * that is itself a mapping of a file, what was not written since is copied
 * from there within the kernel, shared where the file system can. A kernel
 * that does not tell costs time: all of it is then read, and compared to zero.
 *
 * The process that forks has threads, whose locks the child finds as they
 * were: it calls only what is async-signal-safe. It closes every descriptor
 * but its own, so that no lock outlives the VM, dumps no core, takes the
 * default for every signal, and is nicer, and sooner killed when memory runs
 * out, than the VM. Mappings that keep a descriptor's file open - KVM's page
 * of a vCPU, io_uring's rings - must be MADV_DONTFORK.
 *
 * Threads: mem_save() belongs to the owner's thread. No vCPU may run and no
 * device may write meanwhile, or the file holds a mixture.
 */
#ifndef VMM_MEM_SAVE_H
#define VMM_MEM_SAVE_H

#include "vmm/mem.h"

/*
 * Forks a child that writes all of M to FD, a regular file (made empty first,
 * written from its start), syncs it, and then says to REPORT, a pipe's or
 * socket's writing end, one of
 *
 *	"ok\n"
 *	"fail CODE SENTENCE\n"	CODE is an exit code (err.h)
 *
 * It gives up, saying nothing, when nobody can read that any more; a reader
 * who meets the end first knows that the child died. FD and REPORT stay the
 * caller's, who closes them: the child has its own.
 *
 * Returns a descriptor (a pidfd, close-on-exec), readable when the child has
 * ended, for mem_save_end(); or -errno with a sentence, and nothing was begun.
 */
int mem_save(const struct mem *m, int fd, int report);

/*
 * Waits for the child's end, which KILL brings about, takes it off the
 * kernel's list, and closes PIDFD. 0: all is written and synced; else
 * -E_AGAIN, without a sentence: `report` had it.
 */
int mem_save_end(int pidfd, bool kill);

/*
 * What the child does, in this process: all of M to FD. It stops with
 * -ECANCELED when REPORT (-1: none) has lost its reader. 0 or -errno, without
 * a sentence; async-signal-safe.
 */
int mem_save_write(const struct mem *m, int fd, int report);

#endif
