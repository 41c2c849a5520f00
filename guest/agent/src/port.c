#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "text.h"

#define PORT_NAME "org.ramet.agent.0\n"
#define PORTS "/sys/class/virtio-ports"

int port_events_open(void) {
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) return -errno;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

void port_events_drain(int fd) {
  char event[16];
  /* What it says does not matter: the answer is in sysfs. An overrun (ENOBUFS) is an event too. */
  while (recv(fd, event, sizeof event, MSG_TRUNC) >= 0 || errno == ENOBUFS) continue;
}

int port_open(void) {
  DIR *dir = opendir(PORTS);
  if (!dir) return -errno;
  int fd = -ENOENT;
  for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
    char path[320];
    char name[64];
    if (e->d_name[0] == '.' || !text_join(path, sizeof path, PORTS "/", e->d_name, "/name", NULL)) continue;
    if (read_file(path, name, sizeof name) < 0 || strcmp(name, PORT_NAME) != 0) continue;
    text_join(path, sizeof path, "/dev/", e->d_name, NULL);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fd = -errno;
    break;
  }
  closedir(dir);
  return fd;
}
