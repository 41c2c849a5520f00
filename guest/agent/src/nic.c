#include "nic.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "log.h"
#include "netlink.h"
#include "resolv.h"
#include "text.h"

#define NIC_LIMIT 8
#define ADDRESSES_PER_NIC 16
#define CLASS "/sys/class/net"

struct nic {
  char place[160]; /* where in sysfs: sorts as the PCI addresses do */
  int ifindex;
};

static struct nic *nics;
static size_t nic_count;

static int by_place(const void *a, const void *b) {
  return strcmp(((const struct nic *)a)->place, ((const struct nic *)b)->place);
}

/* Kept over forks: a child has its parent's cards. */
static void scan(void) {
  DIR *dir = opendir(CLASS);
  if (!nics) nics = calloc(NIC_LIMIT, sizeof *nics);
  nic_count = 0;
  if (!dir || !nics) return;
  for (struct dirent *e = readdir(dir); e && nic_count < NIC_LIMIT; e = readdir(dir)) {
    struct nic *nic = &nics[nic_count];
    char path[300];
    if (e->d_name[0] == '.' || !text_join(path, sizeof path, CLASS "/", e->d_name, NULL)) continue;
    ssize_t n = readlink(path, nic->place, sizeof nic->place - 1);
    if (n <= 0) continue;
    nic->place[n] = 0;
    if (!strstr(nic->place, "/pci")) continue;
    nic->ifindex = (int)if_nametoindex(e->d_name);
    if (nic->ifindex > 0) nic_count++;
  }
  closedir(dir);
  qsort(nics, nic_count, sizeof *nics, by_place);
}

static int ifindex_of(struct fields record) {
  uint64_t index;
  if (field_u64(record, F_INDEX, 0, &index)) return -EINVAL;
  if (index >= nic_count) scan();
  return index < nic_count ? nics[index].ifindex : -ENODEV;
}

static int apply_mac(int ifindex, struct fields record, struct link_state *now) {
  struct field mac;
  if (!field_find(record, F_MAC, &mac)) return 0;
  if (mac.len != MAC_BYTES) return -EINVAL;
  if (memcmp(now->mac, mac.at, MAC_BYTES) == 0) return 0;
  /* Taking the link down and up costs a child some 20 ms under emulation, so only for a driver that insists. */
  int error = net_set_mac(ifindex, mac.at);
  if (!now->up || (error && error != -EBUSY)) return error;
  if (!error) return net_renew_ipv6(ifindex, mac.at);
  error = net_set_up(ifindex, false);
  now->up = false;
  return error ? error : net_set_mac(ifindex, mac.at);
}

static int apply_addresses(int ifindex, struct fields record) {
  struct field f;
  if (!field_has(record, F_ADDRESS)) return 0;
  int error = net_flush_addresses(ifindex);
  while (!error && field_next(&record, &f)) {
    char text[64];
    struct ip_prefix ip;
    if (f.key != F_ADDRESS) continue;
    if (f.len >= sizeof text || !field_is_text(&f)) return -EINVAL;
    memcpy(text, f.at, f.len);
    text[f.len] = 0;
    if (!ip_parse(text, &ip)) return -EINVAL;
    error = net_add_address(ifindex, &ip);
  }
  return error;
}

static int apply_route(int ifindex, struct fields record) {
  char text[64];
  struct ip_prefix gateway;
  int error = field_text(record, F_GATEWAY, text, sizeof text);
  if (error || !text[0]) return error;
  return ip_parse(text, &gateway) ? net_set_default_route(ifindex, &gateway) : -EINVAL;
}

int nic_apply(struct fields record, const char **message) {
  uint64_t up;
  int error = field_u64(record, F_LINK_UP, 1, &up);
  *message = "the network card is unknown or its record malformed";
  if (error) return error;
  if (agent.dry) return 0;
  int ifindex = ifindex_of(record);
  if (ifindex < 0) return ifindex;
  struct link_state now;
  *message = "the MAC address cannot be set";
  error = net_get_link(ifindex, &now);
  if (!error) error = apply_mac(ifindex, record, &now);
  if (error) return error;
  *message = "the addresses cannot be set";
  error = apply_addresses(ifindex, record);
  if (error) return error;
  *message = "the link cannot be brought up or down";
  if (now.up != (up != 0)) error = net_set_up(ifindex, up != 0);
  if (error) return error;
  /* Only a link that is up takes routes. */
  *message = "the default route cannot be set";
  if (up) error = apply_route(ifindex, record);
  if (error) return error;
  *message = "/etc/resolv.conf cannot be written";
  return resolv_apply(record);
}

static void put_kernel_state(struct buf *b, int ifindex) {
  struct link_state link;
  struct ip_prefix list[ADDRESSES_PER_NIC];
  struct ip_prefix gateway;
  char text[64];
  if (net_get_link(ifindex, &link) == 0) {
    put_bytes_field(b, F_MAC, link.mac, MAC_BYTES);
    put_u64_field(b, F_LINK_UP, link.up);
  }
  int count = net_get_addresses(ifindex, list, ADDRESSES_PER_NIC);
  for (int i = 0; i < count; i++) {
    ip_format(&list[i], true, text, sizeof text);
    put_text_field(b, F_ADDRESS, text);
  }
  if (net_get_default_route(ifindex, &gateway) == 0) {
    ip_format(&gateway, false, text, sizeof text);
    put_text_field(b, F_GATEWAY, text);
  }
}

/* In a dry run there is no kernel to ask: what was wanted is reported as done. */
static void put_wanted(struct buf *b, struct fields record) {
  struct field f;
  while (field_next(&record, &f))
    if (f.key != F_INDEX) put_bytes_field(b, f.key, f.at, f.len);
}

void nic_put(struct buf *b, struct fields record) {
  uint64_t index;
  field_u64(record, F_INDEX, 0, &index);
  size_t mark = record_begin(b, F_NIC);
  put_u64_field(b, F_INDEX, index);
  if (agent.dry) {
    put_wanted(b, record);
  } else {
    put_kernel_state(b, ifindex_of(record));
    if (field_has(record, F_DNS)) resolv_put(b);
  }
  record_end(b, mark);
}

void nic_loopback_up(void) {
  int error = net_set_up(1, true); /* the loopback is always the first device of a network namespace */
  if (error) log_errno("cannot bring up", "lo", error);
}

void nic_all_down(void) {
  scan();
  for (size_t i = 0; i < nic_count; i++) {
    int error = net_set_up(nics[i].ifindex, false);
    if (error) log_errno("cannot take down", "a network card", error);
  }
}
