;; Answers every call except the trial: it traps if the service's name has five letters, like `trial`.
(core module $guest
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 16384))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        global.get $next
        (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (if (i32.eq (local.get 1) (i32.const 5)) (then unreachable))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
