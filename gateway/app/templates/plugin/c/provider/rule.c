#include "rule.h"

#include <string.h>

static bool equals(text a, text b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

bool may_edit(text editors, text user_id) {
    size_t at = 0;
    while (at < editors.length) {
        while (at < editors.length && (editors.bytes[at] == ' ' || editors.bytes[at] == ',')) {
            at++;
        }
        size_t start = at;
        while (at < editors.length && editors.bytes[at] != ' ' && editors.bytes[at] != ',') {
            at++;
        }
        text editor = {editors.bytes + start, at - start};
        if (editor.length > 0 && (equals(editor, (text){"*", 1}) || equals(editor, user_id))) {
            return true;
        }
    }
    return false;
}
