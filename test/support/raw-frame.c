/* Sends frames, each given in hexadecimal, out of an interface as they are: what only root in a guest can do. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(3));
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };

	if (fd < 0 || argc < 3)
		return 1;
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	for (int at = 2; at < argc; at++) {
		unsigned char frame[2048];
		size_t length = strlen(argv[at]) / 2;

		for (size_t i = 0; i < length && i < sizeof frame; i++) {
			char byte[3] = { argv[at][2 * i], argv[at][2 * i + 1], 0 };
			frame[i] = (unsigned char)strtoul(byte, NULL, 16);
		}
		memcpy(to.sll_addr, frame, 6);
		if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) < 0) {
			perror("sendto");
			return 2;
		}
	}
	return 0;
}
