// Texts that know their length, and the memory they are made in.

#ifndef ROLES_TEXT_H
#define ROLES_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// UTF-8, without a NUL at its end: mostly a piece of a larger text that somebody else owns.
typedef struct {
    const char *bytes;
    size_t length;
} text;

// A text as it stands in the source, where `sizeof` counts the NUL at its end.
#define TEXT(literal) ((text){"" literal, sizeof(literal) - 1})

// Memory that is given back all at once. What a policy is made of lives as long as the policy, so nothing
// in it needs to know who frees it.
typedef struct {
    struct block *blocks;
} arena;

// Room for `count` things of `size` bytes each, all zero. Does not come back where there is no memory: the
// call ends as a trap, and the gateway gives no permissions.
void *arena_take(arena *memory, size_t count, size_t size);
void arena_free(arena *memory);

// Room for one more thing behind `count` of them, in place of `items`, which has room for `*room`.
void *arena_grow(arena *memory, void *items, size_t count, size_t *room, size_t size);

bool text_equals(text a, text b);
bool text_starts_with(text whole, text start);
// Where the byte is, or the length where it is not.
size_t text_find(text whole, char byte);
text text_from(text whole, size_t start);
text text_until(text whole, size_t end);

// Without the white space round it, as Unicode has it.
text text_trim(text whole);

// Cuts at the first such byte. False, and nothing changed, where there is none.
bool text_split(text whole, char at, text *before, text *after);

// The texts one after the other.
text text_join(arena *memory, size_t count, const text *parts);
#define JOIN(memory, ...) \
    text_join(memory, sizeof((text[]){__VA_ARGS__}) / sizeof(text), (text[]){__VA_ARGS__})

#endif
