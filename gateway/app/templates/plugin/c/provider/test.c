#include <stdio.h>
#include <string.h>

#include "../src/rule.h"

static int passed, failed;

static void check(const char *editors, const char *user_id, bool expected) {
    if (may_edit((text){editors, strlen(editors)}, (text){user_id, strlen(user_id)}) != expected) {
        printf("may_edit(\"%s\", \"%s\") is not %s\n", editors, user_id, expected ? "true" : "false");
        failed++;
    } else {
        passed++;
    }
}

int main(void) {
    check("*", "17", true);
    check("4, 17", "17", true);
    check("4, 17", "1", false);
    check("", "17", false);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
