"""SipHash-1-3 with 128 bits of output, in C; whoever cimports it has it compiled in."""

from libc.stdint cimport uint8_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #define ROUTING_TURN(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
    #define ROUTING_ROUND \\
        do { \\
            v0 += v1; v1 = ROUTING_TURN(v1, 13); v1 ^= v0; v0 = ROUTING_TURN(v0, 32); \\
            v2 += v3; v3 = ROUTING_TURN(v3, 16); v3 ^= v2; \\
            v0 += v3; v3 = ROUTING_TURN(v3, 21); v3 ^= v0; \\
            v2 += v1; v1 = ROUTING_TURN(v1, 17); v1 ^= v2; v2 = ROUTING_TURN(v2, 32); \\
        } while (0)
    static inline uint64_t routing_little(const uint8_t* p) {
        return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16
            | (uint64_t) p[3] << 24 | (uint64_t) p[4] << 32 | (uint64_t) p[5] << 40
            | (uint64_t) p[6] << 48 | (uint64_t) p[7] << 56;
    }
    static inline void routing_put(uint8_t* p, uint64_t word) {
        for (int k = 0; k < 8; k++) p[k] = (uint8_t) (word >> (8 * k));
    }
    /* SipHash-1-3 with 128 bits of output: one round a word, three at the end. */
    static void routing_siphash(const uint64_t* key, const uint8_t* text, size_t size,
                                uint8_t* digest) {
        uint64_t v0 = UINT64_C(0x736f6d6570736575) ^ key[0];
        uint64_t v1 = UINT64_C(0x646f72616e646f6d) ^ key[1] ^ 0xee;
        uint64_t v2 = UINT64_C(0x6c7967656e657261) ^ key[0];
        uint64_t v3 = UINT64_C(0x7465646279746573) ^ key[1];
        uint64_t word, last = (uint64_t) size << 56;
        size_t k, whole = size & ~(size_t) 7;
        for (k = 0; k < whole; k += 8) {
            word = routing_little(text + k);
            v3 ^= word;
            ROUTING_ROUND;
            v0 ^= word;
        }
        for (k = 0; k < size - whole; k++) last |= (uint64_t) text[whole + k] << (8 * k);
        v3 ^= last;
        ROUTING_ROUND;
        v0 ^= last;
        v2 ^= 0xee;
        for (k = 0; k < 3; k++) ROUTING_ROUND;
        routing_put(digest, v0 ^ v1 ^ v2 ^ v3);
        v1 ^= 0xdd;
        for (k = 0; k < 3; k++) ROUTING_ROUND;
        routing_put(digest + 8, v0 ^ v1 ^ v2 ^ v3);
    }
    """
    uint64_t little "routing_little" (const uint8_t* start) noexcept nogil
    void siphash "routing_siphash" (
        const uint64_t* key, const uint8_t* text, size_t size, uint8_t* digest
    ) noexcept nogil
