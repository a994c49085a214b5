/* The floor of bench.loopback: messages as `u32 length | body` over one TCP connection, in the clear.
 *
 *   loopback server          prints {"port": N}, then {"count": N, "seconds": S} when its peer hangs up
 *   loopback stream PORT SIZE SECONDS
 *   loopback pingpong PORT SIZE ROUNDS     prints {"p50_us": .., "p99_us": ..}
 *
 * The server counts what comes and sends back a message whose first byte is 1. It reads into one
 * buffer and the client writes many messages with one call: what a program without a library does.
 */
#include <arpa/inet.h>
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

enum { BUFFER = 4 << 20, BATCH = 1 << 16 };

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void must(int fine, const char *what) {
    if (!fine) {
        perror(what);
        exit(1);
    }
}

static void write_all(int to, const char *data, size_t size) {
    while (size) {
        ssize_t done = write(to, data, size);
        must(done > 0, "write");
        data += done;
        size -= done;
    }
}

static void no_delay(int on) {
    int one = 1;
    setsockopt(on, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int serve(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(!bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
    must(!listen(listener, 1), "listen");
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("{\"port\": %d}\n", ntohs(here.sin_port));
    fflush(stdout);
    int peer = accept(listener, NULL, NULL), poll = epoll_create1(0);
    no_delay(peer);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, peer, &event);
    char *buffer = malloc(BUFFER);
    size_t held = 0;
    uint64_t count = 0;
    double first = 0, last = 0;
    for (;;) {
        epoll_wait(poll, &event, 1, -1);
        ssize_t came = read(peer, buffer + held, BUFFER - held);
        if (came <= 0)
            break;
        held += came;
        if (!count)
            first = now();
        size_t at = 0;
        while (held - at >= 4) {
            uint32_t length;
            memcpy(&length, buffer + at, 4);
            length = ntohl(length);
            if (held - at < 4 + (size_t)length)
                break;
            if (length && buffer[at + 4] == 1)
                write_all(peer, buffer + at, 4 + length);
            at += 4 + length;
            count++;
        }
        memmove(buffer, buffer + at, held - at);
        held -= at;
        last = now();
    }
    printf("{\"count\": %llu, \"seconds\": %.6f}\n", (unsigned long long)count, last - first);
    return 0;
}

static int dial(int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int to = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(to, (struct sockaddr *)&there, sizeof there), "connect");
    no_delay(to);
    return to;
}

static char *messages(size_t size, size_t count, char mark) {
    char *made = calloc(count, size + 4);
    for (size_t place = 0; place < count; place++) {
        uint32_t length = htonl(size);
        memcpy(made + place * (size + 4), &length, 4);
        if (size)
            made[place * (size + 4) + 4] = mark;
    }
    return made;
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    if (count == 2 && !strcmp(words[1], "server"))
        return serve();
    if (count != 5)
        return 2;
    int to = dial(atoi(words[2]));
    size_t size = atol(words[3]);
    if (!strcmp(words[1], "stream")) {
        size_t batch = BATCH / (size + 4) ? BATCH / (size + 4) : 1;
        char *made = messages(size, batch, 0);
        double until = now() + atof(words[4]);
        while (now() < until)
            write_all(to, made, batch * (size + 4));
        return 0;
    }
    long rounds = atol(words[4]);
    double *took = calloc(rounds, sizeof *took);
    char *asked = messages(size, 1, 1), *heard = malloc(size + 4);
    for (long round = 0; round < rounds; round++) {
        double began = now();
        write_all(to, asked, size + 4);
        for (size_t held = 0; held < size + 4;) {
            ssize_t came = read(to, heard + held, size + 4 - held);
            must(came > 0, "read");
            held += came;
        }
        took[round] = now() - began;
    }
    qsort(took, rounds, sizeof *took, by_size);
    printf("{\"p50_us\": %.2f, \"p99_us\": %.2f}\n", took[rounds / 2] * 1e6,
           took[rounds * 99 / 100] * 1e6);
    return 0;
}
