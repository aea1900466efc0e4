// `assert` for a plugin. That of the C library prints, which a plugin cannot, and does nothing in an optimised build. This
// one always checks: where the condition is false the call ends as a crash, and the gateway lets nobody through.

#undef assert
#define assert(condition) ((condition) ? (void)0 : __builtin_trap())
#define static_assert _Static_assert
