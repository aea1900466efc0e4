;; Answers with 5,000 permissions whose names are all the same 60,000 bytes: 64 KiB of memory that become 300 MB when
;; the host copies them.
(core module $guest
    (memory (export "memory") 4)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 131072)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (memory.fill (i32.const 131072) (i32.const 97) (i32.const 60000))
        (i32.store (i32.const 4) (i32.const 64))
        (i32.store (i32.const 8) (i32.const 5000))
        (local.set $at (i32.const 64))
        (loop $next
            (i32.store (local.get $at) (i32.const 131072))
            (i32.store offset=4 (local.get $at) (i32.const 60000))
            (local.set $at (i32.add (local.get $at) (i32.const 24)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 120064))))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
