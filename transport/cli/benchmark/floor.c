// The least that a server for trackers costs: handshake, length, checksum and acknowledgement on one thread with
// epoll. It decodes and stores nothing. `telgw bench` compiles it to have something to divide by.
// Usage: floor PORT [SECONDS]
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
typedef struct {
  int st;
  int have;
  unsigned char *buf;
} C;
static C *c;
static unsigned short T[4][256];
static unsigned char S[65536];
static uint32_t rd(unsigned char *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static unsigned crc(const unsigned char *p, int n) {
  unsigned c = 0;
  while (n >= 4) {
    c ^= p[0] | p[1] << 8;
    c = T[3][c & 255] ^ T[2][c >> 8] ^ T[1][p[2]] ^ T[0][p[3]];
    p += 4;
    n -= 4;
  }
  while (n--)
    c = (c >> 8) ^ T[0][(c ^ *p++) & 255];
  return c;
}
int main(int ac, char **av) {
  for (int i = 0; i < 256; i++) {
    int x = i;
    for (int k = 0; k < 8; k++)
      x = (x & 1) ? (x >> 1) ^ 0xA001 : x >> 1;
    T[0][i] = x;
  }
  for (int k = 1; k < 4; k++)
    for (int i = 0; i < 256; i++)
      T[k][i] = (T[k - 1][i] >> 8) ^ T[0][T[k - 1][i] & 255];
  int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, 4);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(av[1]))};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(s, (void *)&a, sizeof a)) {
    perror("bind");
    return 1;
  }
  listen(s, 4096);
  c = calloc(70000, sizeof(C));
  int ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = s}, ev[1024];
  epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
  time_t end = time(0) + (ac > 2 ? atoi(av[2]) : 120);
  while (time(0) < end) {
    int n = epoll_wait(ep, ev, 1024, 500);
    for (int i = 0; i < n; i++) {
      int fd = ev[i].data.fd;
      if (fd == s) {
        int f;
        while ((f = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(f, IPPROTO_TCP, TCP_NODELAY, &one, 4);
          c[f].st = 0;
          c[f].have = 0;
          struct epoll_event q = {.events = EPOLLIN, .data.fd = f};
          epoll_ctl(ep, EPOLL_CTL_ADD, f, &q);
        }
        continue;
      }
      C *x = &c[fd];
      if (x->have)
        memcpy(S, x->buf, x->have);
      ssize_t r = read(fd, S + x->have, sizeof(S) - x->have);
      if (r <= 0) {
        if (r < 0 && errno == EAGAIN)
          continue;
        close(fd);
        free(x->buf);
        x->buf = 0;
        x->have = 0;
        continue;
      }
      int have = x->have + r, p = 0;
      for (;;) {
        if (x->st == 0) {
          if (have - p < 17)
            break;
          p += 17;
          unsigned char y = 1;
          write(fd, &y, 1);
          x->st = 1;
          continue;
        }
        if (have - p < 8)
          break;
        uint32_t L = rd(S + p + 4);
        if (rd(S + p) || L > 16000) {
          close(fd);
          have = p = 0;
          break;
        }
        if (have - p < (int)L + 12)
          break;
        if (crc(S + p + 8, L) != rd(S + p + 8 + L) || S[p + 9] != S[p + 7 + L]) {
          close(fd);
          have = p = 0;
          break;
        }
        unsigned char k[4] = {0, 0, 0, S[p + 9]};
        write(fd, k, 4);
        p += L + 12;
      }
      int left = have - p;
      if (left) {
        if (!x->buf)
          x->buf = malloc(20000);
        memcpy(x->buf, S + p, left);
      }
      x->have = left;
    }
  }
  return 0;
}
