#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "text.h"

#define ADDRESSES_AT_ONCE 32
/* of as many; a guest may have given itself more than one answer is asked for */
#define FLUSH_ROUNDS 64

struct message {
  struct nlmsghdr header;
  uint8_t body[256];
};

/* Called for each message of an answer. */
typedef void answer_fn(const struct nlmsghdr *h, void *context);

static int sock = -1;
static uint32_t sequence;

static void message_init(struct message *m, uint16_t type, uint16_t flags, size_t body) {
  memset(m, 0, sizeof *m);
  m->header.nlmsg_type = type;
  m->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
  m->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
  m->header.nlmsg_seq = ++sequence;
}

static void add_attribute(struct message *m, uint16_t type, const void *data, size_t len) {
  struct rtattr *a = (void *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));
  a->rta_type = type;
  a->rta_len = (unsigned short)RTA_LENGTH(len);
  memcpy(RTA_DATA(a), data, len);
  m->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* Sends, and hands over what comes until the acknowledgement or the end of a dump. */
static int talk(struct message *m, answer_fn *answer, void *context) {
  _Alignas(struct nlmsghdr) char reply[8192];
  if (sock < 0) sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (sock < 0 || send(sock, m, m->header.nlmsg_len, 0) < 0) return -errno;
  for (;;) {
    ssize_t len = recv(sock, reply, sizeof reply, 0);
    if (len < 0 && errno == EINTR) continue;
    if (len < 0) return -errno;
    size_t left = (size_t)len;
    struct nlmsghdr *h = (void *)reply;
    while (left >= sizeof *h && h->nlmsg_len >= sizeof *h && h->nlmsg_len <= left) {
      if (h->nlmsg_seq == m->header.nlmsg_seq) {
        if (h->nlmsg_type == NLMSG_DONE) return 0;
        if (h->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
        if (answer) answer(h, context);
      }
      size_t step = NLMSG_ALIGN(h->nlmsg_len);
      if (step >= left) break;
      left -= step;
      h = (void *)((char *)h + step);
    }
  }
}

/* Finds an attribute behind a body of that size. */
static const struct rtattr *attribute(const struct nlmsghdr *h, size_t body, unsigned short type) {
  const char *at = (const char *)NLMSG_DATA(h) + NLMSG_ALIGN(body);
  const char *end = (const char *)h + h->nlmsg_len;
  while (at + sizeof(struct rtattr) <= end) {
    const struct rtattr *a = (const void *)at;
    if (a->rta_len < sizeof *a || at + a->rta_len > end) return NULL;
    if (a->rta_type == type) return a;
    at += RTA_ALIGN(a->rta_len);
  }
  return NULL;
}

static size_t attribute_bytes(const struct rtattr *a) { return a->rta_len - RTA_LENGTH(0); }
static size_t address_bytes(uint8_t family) { return family == AF_INET ? 4 : 16; }

static int change_link(int ifindex, unsigned flags, unsigned change, const uint8_t *mac) {
  struct message m;
  message_init(&m, RTM_NEWLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
  struct ifinfomsg *info = NLMSG_DATA(&m.header);
  info->ifi_index = ifindex;
  info->ifi_flags = flags;
  info->ifi_change = change;
  if (mac) add_attribute(&m, IFLA_ADDRESS, mac, MAC_BYTES);
  return talk(&m, NULL, NULL);
}

int net_set_up(int ifindex, bool up) { return change_link(ifindex, up ? IFF_UP : 0, IFF_UP, NULL); }
int net_set_mac(int ifindex, const uint8_t mac[MAC_BYTES]) { return change_link(ifindex, 0, 0, mac); }

static void take_link(const struct nlmsghdr *h, void *context) {
  struct link_state *out = context;
  const struct ifinfomsg *info = NLMSG_DATA(h);
  if (h->nlmsg_type != RTM_NEWLINK) return;
  const struct rtattr *mac = attribute(h, sizeof *info, IFLA_ADDRESS);
  out->up = (info->ifi_flags & IFF_UP) != 0;
  if (mac && attribute_bytes(mac) >= MAC_BYTES) memcpy(out->mac, RTA_DATA(mac), MAC_BYTES);
}

int net_get_link(int ifindex, struct link_state *out) {
  struct message m;
  memset(out, 0, sizeof *out);
  message_init(&m, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
  ((struct ifinfomsg *)NLMSG_DATA(&m.header))->ifi_index = ifindex;
  return talk(&m, take_link, out);
}

static int change_address(uint16_t type, uint16_t flags, int ifindex, const struct ip_prefix *ip) {
  struct message m;
  message_init(&m, type, (uint16_t)(flags | NLM_F_ACK), sizeof(struct ifaddrmsg));
  struct ifaddrmsg *a = NLMSG_DATA(&m.header);
  a->ifa_family = ip->family;
  a->ifa_prefixlen = ip->prefix;
  a->ifa_index = (unsigned)ifindex;
  /* The host hands out addresses; waiting for duplicates to answer would only delay the child. */
  if (ip->family == AF_INET6) a->ifa_flags = IFA_F_NODAD;
  add_attribute(&m, IFA_LOCAL, ip->bytes, address_bytes(ip->family));
  add_attribute(&m, IFA_ADDRESS, ip->bytes, address_bytes(ip->family));
  if (ip->family == AF_INET && ip->prefix < 31) {
    uint32_t address;
    memcpy(&address, ip->bytes, 4);
    address |= htonl(UINT32_MAX >> ip->prefix);
    add_attribute(&m, IFA_BROADCAST, &address, 4);
  }
  return talk(&m, NULL, NULL);
}

int net_add_address(int ifindex, const struct ip_prefix *ip) {
  return change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifindex, ip);
}

struct address_list {
  int ifindex;
  bool link_local; /* those, or all others */
  struct ip_prefix *at;
  int count;
  int cap;
};

static void take_address(const struct nlmsghdr *h, void *context) {
  struct address_list *list = context;
  const struct ifaddrmsg *a = NLMSG_DATA(h);
  if (h->nlmsg_type != RTM_NEWADDR || (int)a->ifa_index != list->ifindex || list->count == list->cap) return;
  if ((a->ifa_scope == RT_SCOPE_LINK) != list->link_local || (a->ifa_family != AF_INET && a->ifa_family != AF_INET6)) return;
  const struct rtattr *address = attribute(h, sizeof *a, a->ifa_family == AF_INET ? IFA_LOCAL : IFA_ADDRESS);
  if (!address || attribute_bytes(address) != address_bytes(a->ifa_family)) return;
  struct ip_prefix *out = &list->at[list->count++];
  memset(out, 0, sizeof *out);
  out->family = a->ifa_family;
  out->prefix = a->ifa_prefixlen;
  memcpy(out->bytes, RTA_DATA(address), attribute_bytes(address));
}

static int list_addresses(struct address_list *list) {
  struct message m;
  message_init(&m, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
  int error = talk(&m, take_address, list);
  return error ? error : list->count;
}

int net_get_addresses(int ifindex, struct ip_prefix *out, int cap) {
  return list_addresses(&(struct address_list){.ifindex = ifindex, .at = out, .cap = cap});
}

int net_renew_ipv6(int ifindex, const uint8_t mac[MAC_BYTES]) {
  struct ip_prefix old[ADDRESSES_AT_ONCE];
  struct ip_prefix new = {.family = AF_INET6, .prefix = 64};
  int counts[2];
  for (int pass = 0; pass < 2; pass++) {
    struct address_list list = {.ifindex = ifindex, .link_local = pass == 0, .at = old, .cap = ADDRESSES_AT_ONCE};
    int total = list_addresses(&list);
    if (total < 0) return total;
    counts[pass] = 0;
    for (int i = 0; i < total; i++) {
      if (old[i].family != AF_INET6) continue;
      int error = change_address(RTM_DELADDR, 0, ifindex, &old[i]);
      if (error && error != -EADDRNOTAVAIL) return error;
      counts[pass]++;
    }
  }
  if (counts[0] == 0) return 0; /* IPv6 is switched off here */
  /* EUI-64: the MAC with ff:fe in its middle and the bit of local administration turned over. */
  const uint8_t bytes[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  memcpy(new.bytes, bytes, sizeof bytes);
  return net_add_address(ifindex, &new);
}

int net_flush_addresses(int ifindex) {
  for (int round = 0; round < FLUSH_ROUNDS; round++) {
    struct ip_prefix list[ADDRESSES_AT_ONCE];
    int n = net_get_addresses(ifindex, list, ADDRESSES_AT_ONCE);
    if (n <= 0) return n;
    for (int i = 0; i < n; i++) {
      int error = change_address(RTM_DELADDR, 0, ifindex, &list[i]);
      /* Removing a first address takes its secondaries along. */
      if (error && error != -EADDRNOTAVAIL) return error;
    }
  }
  return -E2BIG;
}

int net_set_default_route(int ifindex, const struct ip_prefix *gateway) {
  struct message m;
  message_init(&m, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct rtmsg));
  struct rtmsg *r = NLMSG_DATA(&m.header);
  r->rtm_family = gateway->family;
  r->rtm_table = RT_TABLE_MAIN;
  r->rtm_protocol = RTPROT_STATIC;
  r->rtm_scope = RT_SCOPE_UNIVERSE;
  r->rtm_type = RTN_UNICAST;
  add_attribute(&m, RTA_GATEWAY, gateway->bytes, address_bytes(gateway->family));
  add_attribute(&m, RTA_OIF, &ifindex, sizeof ifindex);
  return talk(&m, NULL, NULL);
}

struct route_search {
  int ifindex;
  struct ip_prefix *gateway;
  bool found;
};

static void take_route(const struct nlmsghdr *h, void *context) {
  struct route_search *search = context;
  const struct rtmsg *r = NLMSG_DATA(h);
  if (h->nlmsg_type != RTM_NEWROUTE || r->rtm_dst_len != 0 || r->rtm_table != RT_TABLE_MAIN || search->found) return;
  const struct rtattr *out = attribute(h, sizeof *r, RTA_OIF);
  const struct rtattr *gateway = attribute(h, sizeof *r, RTA_GATEWAY);
  if (!out || !gateway || attribute_bytes(gateway) != address_bytes(r->rtm_family)) return;
  if (memcmp(RTA_DATA(out), &search->ifindex, sizeof search->ifindex) != 0) return;
  memset(search->gateway, 0, sizeof *search->gateway);
  search->gateway->family = r->rtm_family;
  memcpy(search->gateway->bytes, RTA_DATA(gateway), attribute_bytes(gateway));
  search->found = true;
}

int net_get_default_route(int ifindex, struct ip_prefix *gateway) {
  struct message m;
  struct route_search search = {.ifindex = ifindex, .gateway = gateway};
  message_init(&m, RTM_GETROUTE, NLM_F_DUMP, sizeof(struct rtmsg));
  int error = talk(&m, take_route, &search);
  return error ? error : search.found ? 0 : -ENOENT;
}

bool ip_parse(const char *s, struct ip_prefix *out) {
  char address[64];
  uint64_t prefix;
  size_t n = strcspn(s, "/");
  if (n >= sizeof address) return false;
  memcpy(address, s, n);
  address[n] = 0;
  memset(out, 0, sizeof *out);
  out->family = strchr(address, ':') ? AF_INET6 : AF_INET;
  unsigned most = out->family == AF_INET ? 32 : 128;
  if (inet_pton(out->family, address, out->bytes) != 1) return false;
  out->prefix = (uint8_t)most;
  if (!s[n]) return true;
  if (!parse_u64(s + n + 1, strlen(s + n + 1), &prefix) || prefix > most) return false;
  out->prefix = (uint8_t)prefix;
  return true;
}

void ip_format(const struct ip_prefix *ip, bool with_prefix, char *dst, size_t cap) {
  struct text t;
  dst[0] = 0;
  inet_ntop(ip->family, ip->bytes, dst, (socklen_t)cap);
  if (!with_prefix) return;
  size_t len = strlen(dst);
  text_init(&t, dst + len, cap - len);
  text_add(&t, "/");
  text_add_u64(&t, ip->prefix);
}
