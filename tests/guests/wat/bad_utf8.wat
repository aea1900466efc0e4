;; Answers with one permission whose name is not UTF-8.
(core module $guest
    (memory (export "memory") 1)
    (data (i32.const 4) "\40\00\00\00" "\01\00\00\00")
    ;; The name is 4 bytes at address 128, the value is `false`.
    (data (i32.const 64) "\80\00\00\00" "\04\00\00\00")
    (data (i32.const 128) "\ff\fe\c0\80")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
