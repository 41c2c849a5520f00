/* Addresses, links and routes by rtnetlink, over one socket that stays open. */
#ifndef RAMET_NETLINK_H
#define RAMET_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAC_BYTES 6

struct ip_prefix {
  uint8_t family; /* AF_INET or AF_INET6 */
  uint8_t prefix;
  uint8_t bytes[16];
};

struct link_state {
  uint8_t mac[MAC_BYTES];
  bool up;
};

/* `a.b.c.d/n` or `x::y/n`; without a prefix the whole address. */
bool ip_parse(const char *s, struct ip_prefix *out);
/* With the prefix if asked for. */
void ip_format(const struct ip_prefix *ip, bool with_prefix, char *dst, size_t cap);

/* Each returns 0 or -errno. */
int net_set_up(int ifindex, bool up);
int net_set_mac(int ifindex, const uint8_t mac[MAC_BYTES]);
int net_get_link(int ifindex, struct link_state *out);
int net_add_address(int ifindex, const struct ip_prefix *ip);
/* Removes all addresses but those of the link scope. */
int net_flush_addresses(int ifindex);
/* Removes the IPv6 addresses that were made from an old MAC, and makes the link-local one from the new. */
int net_renew_ipv6(int ifindex, const uint8_t mac[MAC_BYTES]);
/* The addresses of global scope; returns their number or -errno. */
int net_get_addresses(int ifindex, struct ip_prefix *out, int cap);
int net_set_default_route(int ifindex, const struct ip_prefix *gateway);
/* 0, -ENOENT when there is no default route over this link. */
int net_get_default_route(int ifindex, struct ip_prefix *gateway);

#endif
