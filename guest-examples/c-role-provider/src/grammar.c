#include "grammar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void texts_add(arena *memory, texts *list, text item) {
    list->items = arena_grow(memory, list->items, list->count, &list->room, sizeof(text));
    list->items[list->count++] = item;
}

static void add_unless_empty(arena *memory, texts *list, text item) {
    item = text_trim(item);
    if (item.length > 0) {
        texts_add(memory, list, item);
    }
}

texts read_names(arena *memory, text list) {
    texts found = {0};
    size_t start = 0;
    for (size_t at = 0; at < list.length; at++) {
        if (list.bytes[at] == ',' || list.bytes[at] == '\n') {
            add_unless_empty(memory, &found, text_from(text_until(list, at), start));
            start = at + 1;
        }
    }
    add_unless_empty(memory, &found, text_from(list, start));
    return found;
}

// Splits a list at commas and line breaks outside quotes, brackets and braces.
static bool split(arena *memory, text list, texts *parts, text *mistake) {
    size_t start = 0, depth = 0;
    bool quoted = false;
    for (size_t at = 0; at < list.length; at++) {
        char byte = list.bytes[at];
        if (quoted) {
            if (byte == '\\') {
                // The next character, even a quotation mark, is part of the quoted text.
                at++;
            } else if (byte == '"') {
                quoted = false;
            }
        } else if (byte == '"') {
            quoted = true;
        } else if (byte == '[' || byte == '{') {
            depth++;
        } else if (byte == ']' || byte == '}') {
            if (depth == 0) {
                *mistake = byte == ']' ? TEXT("`]` closes nothing") : TEXT("`}` closes nothing");
                return false;
            }
            depth--;
        } else if (depth == 0 && (byte == ',' || byte == '\n')) {
            add_unless_empty(memory, parts, text_from(text_until(list, at), start));
            start = at + 1;
        }
    }
    if (quoted) {
        *mistake = TEXT("a quotation mark is not closed");
        return false;
    }
    if (depth > 0) {
        *mistake = TEXT("a bracket or brace is not closed");
        return false;
    }
    add_unless_empty(memory, parts, text_from(list, start));
    return true;
}

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

static size_t count_digits(text from) {
    size_t count = 0;
    while (count < from.length && is_digit(from.bytes[count])) {
        count++;
    }
    return count;
}

static bool read_integer(text digits, bool negative, int64_t *integer) {
    if (digits.length == 0 || count_digits(digits) < digits.length) {
        return false;
    }
    *integer = 0;
    for (size_t i = 0; i < digits.length; i++) {
        // Accumulated with its sign, because there is one more negative number than positive ones.
        int digit = negative ? '0' - digits.bytes[i] : digits.bytes[i] - '0';
        if (__builtin_mul_overflow(*integer, 10, integer) ||
            __builtin_add_overflow(*integer, digit, integer)) {
            return false;
        }
    }
    return true;
}

// Whether it is digits, with an optional fraction and exponent. `strtod` alone would accept more, such as `0x10` and
// `infinity`.
static bool is_number(text rest) {
    size_t whole = count_digits(rest), fraction = 0;
    rest = text_from(rest, whole);
    if (text_starts_with(rest, TEXT("."))) {
        rest = text_from(rest, 1);
        fraction = count_digits(rest);
        rest = text_from(rest, fraction);
    }
    if (whole + fraction == 0) {
        return false;
    }
    if (text_starts_with(rest, TEXT("e")) || text_starts_with(rest, TEXT("E"))) {
        rest = text_from(rest, 1);
        if (text_starts_with(rest, TEXT("+")) || text_starts_with(rest, TEXT("-"))) {
            rest = text_from(rest, 1);
        }
        size_t exponent = count_digits(rest);
        if (exponent == 0) {
            return false;
        }
        rest = text_from(rest, exponent);
    }
    return rest.length == 0;
}

static value read_value(arena *memory, text written) {
    if (text_equals(written, TEXT("true")) || text_equals(written, TEXT("false"))) {
        return (value){.kind = BOOLEAN, .boolean = written.bytes[0] == 't'};
    }
    if (text_equals(written, TEXT("null")) || text_starts_with(written, TEXT("\"")) ||
        text_starts_with(written, TEXT("[")) || text_starts_with(written, TEXT("{"))) {
        return (value){.kind = JSON, .text = written};
    }
    bool negative = text_starts_with(written, TEXT("-"));
    if (negative || (written.length > 0 && is_digit(written.bytes[0]))) {
        text unsigned_part = text_from(written, negative);
        int64_t integer;
        if (read_integer(unsigned_part, negative, &integer)) {
            return (value){.kind = INTEGER, .integer = integer};
        }
        if (is_number(unsigned_part)) {
            // `strtod` needs a terminating NUL, which a slice of a text does not have.
            text ended = JOIN(memory, written, TEXT("\0"));
            double number = strtod(ended.bytes, NULL);
            if (isfinite(number)) {
                return (value){.kind = NUMBER, .number = number};
            }
        }
    }
    return (value){.kind = STRING, .text = written};
}

static bool read_entry(arena *memory, text written, entry *found, text *mistake) {
    text left = written, right = {0};
    bool has_value = text_split(written, '=', &left, &right);
    text service = TEXT("*"), name = left;
    text_split(left, ':', &service, &name);
    service = text_trim(service);
    name = text_trim(name);
    if (service.length == 0 || name.length == 0) {
        *mistake = JOIN(memory, TEXT("`"), written,
                        TEXT("` is not a permission: write `name`, `name=value` or `service:name=value`"));
        return false;
    }
    *found = (entry){
        .in_every_service = text_equals(service, TEXT("*")),
        .service = service,
        .name = name,
        .value = has_value ? read_value(memory, text_trim(right)) : (value){.kind = BOOLEAN, .boolean = true},
    };
    return true;
}

bool read_entries(arena *memory, text list, entries *found, text *mistake) {
    texts parts = {0};
    if (!split(memory, list, &parts, mistake)) {
        return false;
    }
    *found = (entries){.items = arena_take(memory, parts.count, sizeof(entry)), .room = parts.count};
    for (size_t i = 0; i < parts.count; i++) {
        if (!read_entry(memory, parts.items[i], &found->items[i], mistake)) {
            return false;
        }
        found->count++;
    }
    return true;
}
