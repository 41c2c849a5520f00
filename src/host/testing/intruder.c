/*
 * For tests: what a QEMU that its guest has taken over would try with what it was lent. Prints a line for each thing
 * tried: its name, then `done` or the error.
 *
 * intruder DAEMON_PID DAEMON_SOCKET DAEMON_FD OTHER_PID
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define PEER_PIDFD 77

static void report(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
}

/* The kernel hands out a handle on whoever listens, across all namespaces. */
static int handle_of_peer(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int handle = -1;
    socklen_t length = sizeof handle;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, PEER_PIDFD, &handle, &length) < 0)
        return -1;
    return handle;
}

static void try_process(const char *who, int pid)
{
    static const char *const files[] = {"mem", "maps", "environ", "pagemap", "fd", "root", "map_files"};
    char path[64], name[64];
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
        snprintf(name, sizeof name, "%s %s", files[i], who);
        report(name, open(path, O_RDONLY));
    }
    snprintf(name, sizeof name, "read %s", who);
    report(name, process_vm_readv(pid, &here, 1, &there, 1, 0));
    snprintf(name, sizeof name, "trace %s", who);
    report(name, ptrace(PTRACE_ATTACH, pid, 0, 0));
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    report("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
    report("another call", syscall(SYS_getppid));
    report("a call that fails", syscall(SYS_close, -1));
    report("library written", pwrite(RAMET_LIBRARY, "x", 1, 0));
    report("library mapped", mmap(0, 4096, PROT_WRITE, MAP_SHARED, RAMET_LIBRARY, 0) == MAP_FAILED ? -1 : 0);
    try_process("of the daemon", atoi(words[1]));
    try_process("of another", atoi(words[4]));
    int handle = handle_of_peer(words[2]);
    report("handle of the daemon", handle);
    report("descriptor of the daemon", syscall(SYS_pidfd_getfd, handle, atoi(words[3]), 0));
    fflush(stdout);
    return 0;
}
