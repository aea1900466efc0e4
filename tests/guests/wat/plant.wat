;; Leaves traces in a global, in memory, in a table and in dropped segments, and answers how many
;; traces it found, as the permission `found`: in a fresh instance 0.
(core module $guest
    (memory (export "memory") 1)
    (global $global (mut i64) (i64.const 0))
    (table $table 1 funcref)
    (data $segment "x")
    (elem $elements func $self)
    (func $self)

    (data (i32.const 4) "\40\00\00\00" "\01\00\00\00")
    ;; The name is 5 bytes at address 128; the value, an integer, is at 80.
    (data (i32.const 64) "\80\00\00\00" "\05\00\00\00" "\01")
    (data (i32.const 128) "found")

    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (local $found i64)
        (local.set $found (i64.add
            (i64.add (global.get $global) (i64.load (i32.const 256)))
            (i64.extend_i32_u (i32.eqz (ref.is_null (table.get $table (i32.const 0)))))))
        ;; A table and a memory that have grown count too.
        (local.set $found (i64.add (local.get $found) (i64.extend_i32_u (i32.ne (memory.size) (i32.const 1)))))
        (local.set $found (i64.add (local.get $found) (i64.extend_i32_u (i32.ne (table.size $table) (i32.const 1)))))
        (i64.store (i32.const 80) (local.get $found))
        (global.set $global (i64.const 1))
        (i64.store (i32.const 256) (i64.const 1))
        ;; Traps if nothing else was found, but an earlier call has dropped these segments.
        (if (i64.eqz (local.get $found)) (then
            (memory.init $segment (i32.const 512) (i32.const 0) (i32.const 1))
            (table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 1))
            (data.drop $segment)
            (elem.drop $elements)))
        (drop (memory.grow (i32.const 1)))
        (drop (table.grow $table (ref.null func) (i32.const 1)))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
