#include "entropy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent.h"

int entropy_reseed(const uint8_t seed[SEED_BYTES], uint8_t proof[PROOF_BYTES]) {
  union {
    struct rand_pool_info info;
    uint8_t bytes[sizeof(struct rand_pool_info) + SEED_BYTES];
  } pool;
  int error = 0;
  if (!agent.dry) {
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    pool.info.entropy_count = SEED_BYTES * 8;
    pool.info.buf_size = SEED_BYTES;
    memcpy(pool.info.buf, seed, SEED_BYTES);
    if (ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0) error = -errno;
    close(fd);
    /* The next child must not find its sibling's seed in memory. */
    explicit_bzero(&pool, sizeof pool);
    if (error) return error;
  }
  return getrandom(proof, PROOF_BYTES, 0) == PROOF_BYTES ? 0 : -EIO;
}
