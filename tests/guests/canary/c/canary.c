// Plants the user's id in every place where a C guest can keep something, after searching it for another user's.
//
// The planted text is `<place>:<id>`, joined in the place itself, so that there is no other copy of both. The search
// reads the whole memory, including pages just added. An id is `CANARY-` and 16 hex digits.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "provider.h"

typedef exports_auth_gateway_plugin_permission_provider_list_permission_t answer;
typedef exports_auth_gateway_plugin_permission_provider_provider_error_t error;

enum { PAGE = 1 << 16, PAGES = 4, MARK = 7, ID = 23, BLOCK = 4 << 10, FRAME = 16 << 10 };

static const char *const places[] = {"argument", "freed", "grown", "kept", "stack", "static"};
enum place { ARGUMENT, FREED, GROWN, KEPT, STACK, STATIC, PLACES };

static volatile char static_place[64];

// Fills a place with copies.
static void fill(volatile char *there, size_t length, enum place place, provider_string_t id) {
    size_t name = strlen(places[place]), whole = 1 + name + 1 + id.len;
    for (size_t i = 0; i < length; i++) {
        size_t at = i % whole;
        if (at == 0) {
            there[i] = ' ';
        } else if (at <= name) {
            there[i] = places[place][at - 1];
        } else if (at == name + 1) {
            there[i] = ':';
        } else {
            there[i] = (char)id.ptr[at - name - 2];
        }
    }
}

static volatile char *filled_block(enum place place, provider_string_t id) {
    volatile char *block = malloc(BLOCK);
    if (block == NULL) {
        abort();
    }
    fill(block, BLOCK, place, id);
    return block;
}

// A frame of which later calls overwrite only the upper end.
__attribute__((noinline)) static void fill_frame(provider_string_t id) {
    volatile char frame[FRAME];
    fill(frame, FRAME, STACK, id);
}

static bool is_id(const volatile char *at) {
    static const char mark[] = "CANARY-";
    for (size_t i = 0; i < MARK; i++) {
        if (at[i] != mark[i]) {
            return false;
        }
    }
    for (size_t i = MARK; i < ID; i++) {
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool is_own(const volatile char *at, provider_string_t own) {
    for (size_t i = 0; i < ID; i++) {
        if (own.len != ID || at[i] != (char)own.ptr[i]) {
            return false;
        }
    }
    return true;
}

// The name of the place before an id. A copy without one is an argument's.
static enum place place_of(const volatile char *id) {
    for (enum place place = 0; id[-1] == ':' && place < PLACES; place++) {
        size_t length = strlen(places[place]), same = 0;
        while (same < length && id[-1 - (ptrdiff_t)length + (ptrdiff_t)same] == places[place][same]) {
            same++;
        }
        if (same == length) {
            return place;
        }
    }
    return ARGUMENT;
}

static void scan(provider_string_t own, bool found[PLACES]) {
    uintptr_t end = __builtin_wasm_memory_size(0) * PAGE - ID;
    for (uintptr_t word = 32; word < end; word += 8) {
        // Most of the memory is zeros.
        if (*(const volatile uint64_t *)word == 0) {
            continue;
        }
        for (uintptr_t start = word; start < word + 8 && start < end; start++) {
            const volatile char *id = (const volatile char *)start;
            if (is_id(id) && !is_own(id, own)) {
                found[place_of(id)] = true;
            }
        }
    }
}

// Adds pages that no allocator manages, and returns their start.
static uintptr_t grow(void) {
    size_t first = __builtin_wasm_memory_grow(0, PAGES);
    if (first == SIZE_MAX) {
        abort();
    }
    return first * PAGE;
}

static void name_permission(auth_gateway_plugin_types_permission_t *permission, const char *name) {
    provider_string_dup(&permission->name, name);
    permission->value.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_TEXT;
}

// Answers a list of places.
static void list(auth_gateway_plugin_types_permission_t *permission, const char *name,
                 const bool in[PLACES]) {
    char text[128] = "";
    for (enum place place = 0; place < PLACES; place++) {
        if (in[place]) {
            strcat(text, text[0] == '\0' ? "" : " ");
            strcat(text, places[place]);
        }
    }
    name_permission(permission, name);
    provider_string_dup(&permission->value.val.text, text);
}

bool exports_auth_gateway_plugin_permission_provider_get_permissions(provider_string_t *service,
                                                                     provider_string_t *user_id,
                                                                     answer *given, error *why_not) {
    (void)why_not;
    bool all[PLACES], found[PLACES] = {false};
    memset(all, true, sizeof all);
    uintptr_t pages = grow();
    scan(*user_id, found);

    fill(static_place, sizeof static_place, STATIC, *user_id);
    filled_block(KEPT, *user_id);
    free((void *)filled_block(FREED, *user_id));
    fill_frame(*user_id);
    for (uintptr_t page = pages; page < pages + PAGES * PAGE; page += PAGE) {
        fill((volatile char *)page, 64, GROWN, *user_id);
        fill((volatile char *)(page + PAGE - 64), 64, GROWN, *user_id);
    }

    given->ptr = calloc(3, sizeof *given->ptr);
    given->len = 3;
    if (given->ptr == NULL) {
        abort();
    }
    name_permission(&given->ptr[0], "user");
    provider_string_dup_n(&given->ptr[0].value.val.text, (const char *)user_id->ptr, user_id->len);
    list(&given->ptr[1], "looked", all);
    list(&given->ptr[2], "found", found);
    provider_string_free(service);
    provider_string_free(user_id);
    return true;
}
