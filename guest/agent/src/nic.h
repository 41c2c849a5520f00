/* The guest's network cards in PCI order, and what identity.apply says about each. */
#ifndef RAMET_NIC_H
#define RAMET_NIC_H

#include "fields.h"

/* Applies one `nic` record; 0 or -errno with a message. */
int nic_apply(struct fields record, const char **message);
/* Answers with what the kernel says about the same card. */
void nic_put(struct buf *b, struct fields record);
/* Brings up the loopback. */
void nic_loopback_up(void);
/*
 * Takes all cards down, right before the end of the guest. The kernel resets its virtio devices then, and one that
 * still sends (IPv6 reports itself seconds after a link has come up) waits for ever for a card that was reset: seen
 * with Linux 6.1, whose virtio_net asks for room until the card has made some.
 */
void nic_all_down(void);

#endif
