/*
 * Preloaded into a QEMU that shall use userfaultfd without a privilege of its own: asks for one are answered from
 * /dev/userfaultfd, which the daemon opened and QEMU inherited, instead of by the system call, which wants
 * CAP_SYS_PTRACE. Everything else passes through. Why not the capability: docs/decisions/0041.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* The build says which descriptor is /dev/userfaultfd: -DRAMET_USERFAULTFD=N. */

/* _IO(0xAA, 0) of <linux/userfaultfd.h>, which headers before Linux 6.1 lack */
#define NEW_USERFAULTFD 0xAA00UL

typedef long system_call(long, long, long, long, long, long, long);

/*
 * libc declares it variadic. The callers pass integers, and for these both calling conventions are the same
 * on x86-64 and arm64 Linux.
 */
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    static system_call *next;

    if (number == SYS_userfaultfd) {
        int fd = ioctl(RAMET_USERFAULTFD, NEW_USERFAULTFD, a);
        if (fd >= 0)
            return fd;
    }
    if (!next)
        next = (system_call *)dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c, d, e, f);
}
