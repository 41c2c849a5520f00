#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "text.h"

int pty_resize(int master, uint16_t columns, uint16_t rows) {
  struct winsize size = {.ws_col = columns, .ws_row = rows};
  return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static int open_slave(int master, int *slave, uid_t owner) {
  int unlocked = 0;
  unsigned number;
  char path[32];
  struct text t;
  if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, (int)TIOCGPTN, &number) < 0) return -errno;
  text_init(&t, path, sizeof path);
  text_add(&t, "/dev/pts/");
  text_add_u64(&t, number);
  *slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*slave < 0) return -errno;
  /* So that programs of that user may open their terminal by name. */
  (void)!fchown(*slave, owner, (gid_t)-1);
  return 0;
}

int pty_open(int *master, int *slave, uint16_t columns, uint16_t rows, uid_t owner) {
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (*master < 0) return -errno;
  int error = open_slave(*master, slave, owner);
  if (!error) error = pty_resize(*master, columns, rows);
  return error;
}
