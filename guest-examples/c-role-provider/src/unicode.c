#include "unicode.h"

struct range {
    uint32_t first, last;
};

// The lower case of every `step`th character from the first to the last is at this distance.
struct lowercase {
    uint32_t first, last, step;
    int32_t distance;
};

#include "unicode_tables.h"

#define LENGTH(table) (sizeof(table) / sizeof((table)[0]))

enum { SIGMA = 0x3a3, SMALL_SIGMA = 0x3c3, FINAL_SIGMA = 0x3c2, I_WITH_DOT = 0x130, DOT = 0x307 };

static bool is_in(const struct range *table, size_t length, uint32_t character) {
    size_t low = 0, high = length;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (character > table[middle].last) {
            low = middle + 1;
        } else if (character < table[middle].first) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}

static uint32_t lowercase(uint32_t character) {
    for (size_t i = 0; i < LENGTH(LOWERCASE) && LOWERCASE[i].first <= character; i++) {
        const struct lowercase *row = &LOWERCASE[i];
        if (character <= row->last && (character - row->first) % row->step == 0) {
            return character + (uint32_t)row->distance;
        }
    }
    return character;
}

// Whether the first relevant character from `at`, in the direction of `step`, has a case.
static bool a_cased_one_follows(const uint32_t *characters, size_t count, size_t at, int step) {
    while (at < count && is_in(CASE_IGNORABLE, LENGTH(CASE_IGNORABLE), characters[at])) {
        // Below the first character, `at` wraps around and is no longer less than the count.
        at += (size_t)step;
    }
    return at < count && is_in(CASED, LENGTH(CASED), characters[at]);
}

// Reads one character and returns its number of bytes. Invalid UTF-8 is read one byte at a time. The gateway never
// passes any, so it only must not do harm.
static size_t decode(text whole, size_t at, uint32_t *character) {
    const unsigned char *bytes = (const unsigned char *)whole.bytes + at;
    size_t left = whole.length - at;
    size_t length = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : bytes[0] >= 0xc0 ? 2 : 1;
    *character = bytes[0];
    if (length > left || length == 1) {
        return 1;
    }
    *character &= 0xffu >> (length + 1);
    for (size_t i = 1; i < length; i++) {
        *character = *character << 6 | (bytes[i] & 0x3f);
    }
    return length;
}

static size_t encode(uint32_t character, char *bytes) {
    if (character < 0x80) {
        bytes[0] = (char)character;
        return 1;
    }
    size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (char)(lead[length] | character);
    return length;
}

text text_lowercase(arena *memory, text whole) {
    uint32_t *characters = arena_take(memory, whole.length, sizeof(uint32_t));
    size_t count = 0;
    for (size_t at = 0; at < whole.length;) {
        at += decode(whole, at, &characters[count++]);
    }
    // Four bytes per character, because one character may become two.
    size_t most;
    if (__builtin_mul_overflow(count, 8, &most)) {
        __builtin_trap();
    }
    char *bytes = arena_take(memory, most, 1);
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t small;
        if (characters[i] == I_WITH_DOT) {
            length += encode('i', bytes + length);
            small = DOT;
        } else if (characters[i] == SIGMA) {
            bool ends_a_word = a_cased_one_follows(characters, count, i - 1, -1) &&
                               !a_cased_one_follows(characters, count, i + 1, 1);
            small = ends_a_word ? FINAL_SIGMA : SMALL_SIGMA;
        } else {
            small = lowercase(characters[i]);
        }
        length += encode(small, bytes + length);
    }
    return (text){bytes, length};
}
