/* The floor of bench.loopback: messages as `u32 length | body` over TCP, in the clear.
 *
 *   loopback server                prints {"port": N}, then {"count": N, "seconds": S} when all
 *                                  who came have hung up
 *   loopback stream PORT SIZE SECONDS [CONNECTIONS]
 *   loopback pingpong PORT SIZE ROUNDS [CONNECTIONS]      prints {"p50_us": .., "p99_us": ..,
 *                                                         "per_second": ..}
 *
 * The server counts what comes and sends back a message whose first byte is 1. It reads into one
 * buffer for each connection and the client writes many messages with one call: what a program
 * without a library does.
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

enum { BUFFER = 4 << 20, BATCH = 1 << 16, PEERS = 64 };

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

struct peer {
    int wire;
    size_t held;
    char *buffer;
};

static void greet(int listener, int poll) {
    struct peer *made = calloc(1, sizeof *made);
    made->wire = accept(listener, NULL, NULL);
    must(made->wire >= 0, "accept");
    made->buffer = malloc(BUFFER);
    no_delay(made->wire);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = made};
    must(!epoll_ctl(poll, EPOLL_CTL_ADD, made->wire, &event), "epoll_ctl");
}

/* Take what has come from one peer; -1 when it has hung up, else how many messages. */
static long take(struct peer *from) {
    ssize_t came = read(from->wire, from->buffer + from->held, BUFFER - from->held);
    if (came <= 0)
        return -1;
    from->held += came;
    size_t at = 0;
    long count = 0;
    while (from->held - at >= 4) {
        uint32_t length;
        memcpy(&length, from->buffer + at, 4);
        length = ntohl(length);
        if (from->held - at < 4 + (size_t)length)
            break;
        if (length && from->buffer[at + 4] == 1)
            write_all(from->wire, from->buffer + at, 4 + length);
        at += 4 + length;
        count++;
    }
    memmove(from->buffer, from->buffer + at, from->held - at);
    from->held -= at;
    return count;
}

static int serve(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poll = epoll_create1(0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(!bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
    must(!listen(listener, PEERS), "listen");
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("{\"port\": %d}\n", ntohs(here.sin_port));
    fflush(stdout);
    struct epoll_event events[PEERS], event = {.events = EPOLLIN, .data.ptr = NULL};
    must(!epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
    uint64_t count = 0;
    double first = 0, last = 0;
    for (int open = 0, over = 0; !over;) {
        int ready = epoll_wait(poll, events, PEERS, -1);
        for (int place = 0; place < ready; place++) {
            if (!events[place].data.ptr) {
                greet(listener, poll);
                open++;
                continue;
            }
            if (!count)
                first = now();
            long came = take(events[place].data.ptr);
            if (came >= 0) {
                count += came;
                last = now();
            } else {
                close(((struct peer *)events[place].data.ptr)->wire);
                over = !--open;
            }
        }
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

static void say_times(double *took, size_t count, double seconds) {
    qsort(took, count, sizeof *took, by_size);
    printf("{\"p50_us\": %.2f, \"p99_us\": %.2f, \"per_second\": %.1f}\n", took[count / 2] * 1e6,
           took[count * 99 / 100] * 1e6, count / seconds);
}

static int stream(int port, size_t size, double seconds, int wide) {
    int to[PEERS];
    size_t batch = BATCH / (size + 4) ? BATCH / (size + 4) : 1;
    char *made = messages(size, batch, 0);
    for (int place = 0; place < wide; place++)
        to[place] = dial(port);
    double until = now() + seconds;
    for (int place = 0; now() < until; place = (place + 1) % wide)
        write_all(to[place], made, batch * (size + 4));
    return 0;
}

/* Round trips over so many connections at once, each with one message under way. */
static int ask(int port, size_t size, long rounds, int wide) {
    struct asker {
        int wire;
        long left;
        size_t held;
        double began;
    } *askers = calloc(wide, sizeof *askers);
    double *took = calloc(rounds * wide, sizeof *took);
    char *asked = messages(size, 1, 1), *heard = malloc(size + 4);
    int poll = epoll_create1(0);
    size_t done = 0;
    for (int place = 0; place < wide; place++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = askers + place};
        askers[place].wire = dial(port);
        askers[place].left = rounds;
        must(!epoll_ctl(poll, EPOLL_CTL_ADD, askers[place].wire, &event), "epoll_ctl");
    }
    double start = now();
    for (int place = 0; place < wide; place++) {
        askers[place].began = now();
        write_all(askers[place].wire, asked, size + 4);
    }
    while (done < (size_t)rounds * wide) {
        /* One connection needs no epoll: a read waits for it. */
        struct epoll_event events[PEERS] = {{.data.ptr = askers}};
        int ready = wide == 1 ? 1 : epoll_wait(poll, events, PEERS, -1);
        for (int place = 0; place < ready; place++) {
            struct asker *each = events[place].data.ptr;
            ssize_t came = read(each->wire, heard, size + 4 - each->held);
            must(came > 0, "read");
            if ((each->held += came) < size + 4)
                continue;
            double at = now();
            took[done++] = at - each->began;
            each->held = 0;
            if (--each->left) {
                each->began = at;
                write_all(each->wire, asked, size + 4);
            }
        }
    }
    say_times(took, done, now() - start);
    return 0;
}

int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "server"))
        return serve();
    if (count < 5)
        return 2;
    int port = atoi(words[2]);
    size_t size = atol(words[3]);
    int wide = count > 5 ? atoi(words[5]) : 1;
    if (wide < 1 || wide > PEERS)
        return 2;
    if (!strcmp(words[1], "stream"))
        return stream(port, size, atof(words[4]), wide);
    return ask(port, size, atol(words[4]), wide);
}
