#include <stdio.h>
#include <string.h>

#include "../src/rule.h"

static int passed, failed;

static void check(const char *domain, const char *email, bool expected) {
    if (lets_in((text){domain, strlen(domain)}, (text){email, strlen(email)}) != expected) {
        printf("lets_in(\"%s\", \"%s\") is not %s\n", domain, email, expected ? "true" : "false");
        failed++;
    } else {
        passed++;
    }
}

int main(void) {
    check("example.org", "neo@Example.org", true);
    check("example.org", "neo@not-example.org", false);
    check("example.org", "neo@example.org.evil.example", false);
    check("example.org", "", false);
    check("", "neo@", false);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
