#include "text.h"

#include <stdlib.h>
#include <string.h>

struct block {
    struct block *next;
    // The allocations begin here, aligned for any type.
    max_align_t content[];
};

void *arena_take(arena *memory, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct block), &bytes)) {
        abort();
    }
    struct block *block = calloc(1, bytes);
    if (block == NULL) {
        abort();
    }
    block->next = memory->blocks;
    memory->blocks = block;
    return block->content;
}

void arena_free(arena *memory) {
    while (memory->blocks != NULL) {
        struct block *block = memory->blocks;
        memory->blocks = block->next;
        free(block);
    }
}

void *arena_grow(arena *memory, void *items, size_t count, size_t *room, size_t size) {
    if (count < *room) {
        return items;
    }
    size_t more = 8;
    if (*room > 0 && __builtin_mul_overflow(*room, 2, &more)) {
        abort();
    }
    void *larger = arena_take(memory, more, size);
    if (count > 0) {
        memcpy(larger, items, count * size);
    }
    *room = more;
    return larger;
}

bool text_equals(text a, text b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

bool text_starts_with(text whole, text start) {
    return whole.length >= start.length && text_equals(text_until(whole, start.length), start);
}

size_t text_find(text whole, char byte) {
    const char *found = whole.length == 0 ? NULL : memchr(whole.bytes, byte, whole.length);
    return found == NULL ? whole.length : (size_t)(found - whole.bytes);
}

text text_from(text whole, size_t start) {
    return start == 0 ? whole : (text){whole.bytes + start, whole.length - start};
}

text text_until(text whole, size_t end) {
    return (text){whole.bytes, end};
}

bool text_split(text whole, char at, text *before, text *after) {
    size_t found = text_find(whole, at);
    if (found == whole.length) {
        return false;
    }
    *before = text_until(whole, found);
    *after = text_from(whole, found + 1);
    return true;
}

// Whether these bytes are a white-space character (Unicode property White_Space).
static bool is_space(const char *bytes, size_t length) {
    const unsigned char *byte = (const unsigned char *)bytes;
    switch (length) {
        case 1:
            return byte[0] == ' ' || (byte[0] >= '\t' && byte[0] <= '\r');
        case 2:  // U+0085, U+00A0
            return byte[0] == 0xc2 && (byte[1] == 0x85 || byte[1] == 0xa0);
        default:
            switch (byte[0] << 16 | byte[1] << 8 | byte[2]) {
                case 0xe19a80:  // U+1680
                case 0xe280a8:  // U+2028
                case 0xe280a9:  // U+2029
                case 0xe280af:  // U+202F
                case 0xe2819f:  // U+205F
                case 0xe38080:  // U+3000
                    return true;
                default:  // U+2000 to U+200A
                    return byte[0] == 0xe2 && byte[1] == 0x80 && byte[2] >= 0x80 && byte[2] <= 0x8a;
            }
    }
}

text text_trim(text whole) {
    // In UTF-8, no character is part of another, so bytes that look like a space are one.
    for (size_t length = 1; length <= 3 && length <= whole.length;) {
        if (is_space(whole.bytes, length)) {
            whole = text_from(whole, length);
            length = 1;
        } else {
            length++;
        }
    }
    for (size_t length = 1; length <= 3 && length <= whole.length;) {
        if (is_space(whole.bytes + whole.length - length, length)) {
            whole.length -= length;
            length = 1;
        } else {
            length++;
        }
    }
    return whole;
}

text text_join(arena *memory, size_t count, const text *parts) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(length, parts[i].length, &length)) {
            abort();
        }
    }
    char *bytes = arena_take(memory, length, 1);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].length > 0) {
            memcpy(bytes + at, parts[i].bytes, parts[i].length);
            at += parts[i].length;
        }
    }
    return (text){bytes, length};
}
