;; Answers with one permission whose value has none of the five types.
(core module $guest
    (memory (export "memory") 1)
    (data (i32.const 4) "\40\00\00\00" "\01\00\00\00")
    (data (i32.const 64) "\80\00\00\00" "\04\00\00\00" "\09")
    (data (i32.const 128) "name")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
