#include "rule.h"

static char small(char letter) {
    return letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter;
}

bool lets_in(text domain, text email) {
    if (domain.length == 0 || email.length < domain.length + 1) {
        return false;
    }
    size_t at = email.length - domain.length - 1;
    if (email.bytes[at] != '@') {
        return false;
    }
    for (size_t i = 0; i < domain.length; i++) {
        if (small(email.bytes[at + 1 + i]) != small(domain.bytes[i])) {
            return false;
        }
    }
    return true;
}
