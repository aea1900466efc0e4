// Texts with a length, and their memory.

#ifndef ROLES_TEXT_H
#define ROLES_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// UTF-8 without a terminating NUL, usually a slice of a text that something else owns.
typedef struct {
    const char *bytes;
    size_t length;
} text;

// A text from a literal, whose `sizeof` includes the terminating NUL.
#define TEXT(literal) ((text){"" literal, sizeof(literal) - 1})

// Memory that is freed in one step. All parts of a policy live as long as the policy, so none has its own owner.
typedef struct {
    struct block *blocks;
} arena;

// Allocates `count` zeroed items of `size` bytes. If there is no memory, it traps, and the gateway signs no
// permissions.
void *arena_take(arena *memory, size_t count, size_t size);
void arena_free(arena *memory);

// Makes room for one more item after `count`, and replaces `items`, which has room for `*room`.
void *arena_grow(arena *memory, void *items, size_t count, size_t *room, size_t size);

bool text_equals(text a, text b);
bool text_starts_with(text whole, text start);
// The position of the byte, or the length if there is none.
size_t text_find(text whole, char byte);
text text_from(text whole, size_t start);
text text_until(text whole, size_t end);

// The text without leading and trailing white space (Unicode).
text text_trim(text whole);

// Splits at the first such byte. Returns false and changes nothing if there is none.
bool text_split(text whole, char at, text *before, text *after);

// Concatenates the texts.
text text_join(arena *memory, size_t count, const text *parts);
#define JOIN(memory, ...) \
    text_join(memory, sizeof((text[]){__VA_ARGS__}) / sizeof(text), (text[]){__VA_ARGS__})

#endif
