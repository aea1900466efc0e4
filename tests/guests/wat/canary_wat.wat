;; Plants the user's id in every place where this component can keep something, after searching it for another user's:
;; see `CANARY_WAT`. An id is `CANARY-` and 16 hex digits.
(core module $guest
    (import "host" "make-handle" (func $make_handle (param i32) (result i32)))
    (memory $memory (export "memory") 1)
    (memory $other 1)
    (table $table 1 funcref)
    (global $global (mut i64) (i64.const 0))
    (global $reference (mut funcref) (ref.null func))
    (data $segment "x")
    (elem $elements func $self)
    (func $self)

    ;; The answer: three permissions from address 64, all texts. Where `user` is and how long `found` is, is
    ;; written by the call.
    (data (i32.const 4) "\40\00\00\00" "\03\00\00\00")
    (data (i32.const 64) "\00\01\00\00" "\04\00\00\00" "\03")
    (data (i32.const 88) "\10\01\00\00" "\06\00\00\00" "\03\00\00\00\00\00\00\00" "\00\02\00\00" "\37\00\00\00")
    (data (i32.const 112) "\20\01\00\00" "\05\00\00\00" "\03\00\00\00\00\00\00\00" "\00\03\00\00")
    (data (i32.const 256) "user")
    (data (i32.const 272) "looked")
    (data (i32.const 288) "found")
    ;; The places that it searches.
    (data (i32.const 512) "global reference table handle other-memory memory grown")

    ;; Returns a new address for each request, from the second quarter of the first page on.
    (global $next (mut i32) (i32.const 16384))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        global.get $next
        (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))

    ;; Appends a word of those at 512 to `found` at 768, if there is something.
    (func $found (param $is i32) (param $word i32) (param $length i32)
        (local $end i32)
        (if (i32.eqz (local.get $is)) (then (return)))
        (local.set $end (i32.load (i32.const 132)))
        (if (local.get $end) (then
            (i32.store8 (i32.add (i32.const 768) (local.get $end)) (i32.const 32))
            (local.set $end (i32.add (local.get $end) (i32.const 1)))))
        (memory.copy (i32.add (i32.const 768) (local.get $end)) (local.get $word) (local.get $length))
        (i32.store (i32.const 132) (i32.add (local.get $end) (local.get $length))))

    ;; Whether between two addresses there is an id that is not the one at `own`.
    (func $scan (param $from i32) (param $to i32) (param $own i32) (result i32)
        (local $start i32)
        (loop $words
            ;; Most of the memory is zeros.
            (if (i64.ne (i64.load (local.get $from)) (i64.const 0)) (then
                (local.set $start (local.get $from))
                (loop $starts
                    (if (i64.eq (i64.and (i64.load (local.get $start)) (i64.const 0x00ffffffffffffff))
                                (i64.const 0x002d5952414e4143)) (then
                        (if (i32.or
                                (i64.ne (i64.load offset=7 (local.get $start)) (i64.load offset=7 (local.get $own)))
                                (i64.ne (i64.load offset=15 (local.get $start)) (i64.load offset=15 (local.get $own))))
                            (then (return (i32.const 1))))))
                    (local.set $start (i32.add (local.get $start) (i32.const 1)))
                    (br_if $starts (i32.lt_u (local.get $start) (i32.add (local.get $from) (i32.const 8)))))))
            (local.set $from (i32.add (local.get $from) (i32.const 8)))
            (br_if $words (i32.lt_u (local.get $from) (local.get $to))))
        i32.const 0)

    (func (export "get-permissions")
        (param $service i32) (param $service_length i32) (param $user i32) (param $length i32) (result i32)
        (local $grown i32)
        (i32.store (i32.const 80) (local.get $user))
        (i32.store (i32.const 84) (local.get $length))
        (i32.store (i32.const 132) (i32.const 0))
        ;; These traps once an earlier call has dropped the segments.
        (if (i32.eq (local.get $service_length) (i32.const 8 (;segments;))) (then
            (memory.init $memory $segment (i32.const 1024) (i32.const 0) (i32.const 1))
            (table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 1))
            (table.set $table (i32.const 0) (ref.null func))))
        ;; New memory must be as empty as existing memory.
        (local.set $grown (memory.grow $memory (i32.const 4)))
        (if (i32.eq (local.get $grown) (i32.const -1)) (then unreachable))

        (call $found (i64.ne (global.get $global) (i64.const 0)) (i32.const 512) (i32.const 6))
        (call $found (i32.eqz (ref.is_null (global.get $reference))) (i32.const 519) (i32.const 9))
        (call $found
            (i32.or (i32.eqz (ref.is_null (table.get $table (i32.const 0))))
                    (i32.ne (table.size $table) (i32.const 1)))
            (i32.const 529) (i32.const 5))
        ;; Handles are numbered from 1.
        (call $found (i32.ne (call $make_handle (i32.const 7)) (i32.const 1)) (i32.const 535) (i32.const 6))
        (call $found
            (i32.or (i64.ne (i64.load $other (i32.const 32768)) (i64.const 0))
                    (i32.ne (memory.size $other) (i32.const 1)))
            (i32.const 542) (i32.const 12))
        (call $found (call $scan (i32.const 1024) (i32.const 65536) (local.get $user)) (i32.const 555) (i32.const 6))
        (call $found
            (call $scan (i32.const 65536)
                (i32.sub (i32.shl (memory.size $memory) (i32.const 16)) (i32.const 32)) (local.get $user))
            (i32.const 562) (i32.const 5))

        (global.set $global (i64.load offset=7 (local.get $user)))
        (global.set $reference (ref.func $self))
        (table.set $table (i32.const 0) (ref.func $self))
        (drop (table.grow $table (ref.func $self) (i32.const 8)))
        (data.drop $segment)
        (elem.drop $elements)
        (i64.store $other (i32.const 32768) (i64.load offset=7 (local.get $user)))
        (drop (memory.grow $other (i32.const 1)))
        ;; At both ends of the first page, and at the start of each new one.
        (memory.copy $memory $memory (i32.const 2048) (local.get $user) (local.get $length))
        (memory.copy $memory $memory (i32.const 65000) (local.get $user) (local.get $length))
        (local.set $grown (i32.shl (local.get $grown) (i32.const 16)))
        (loop $pages
            (memory.copy $memory $memory (local.get $grown) (local.get $user) (local.get $length))
            (local.set $grown (i32.add (local.get $grown) (i32.const 65536)))
            (br_if $pages (i32.lt_u (local.get $grown) (i32.shl (memory.size $memory) (i32.const 16)))))
        i32.const 0)
    (func (export "post") (param i32)))
(type $handle (resource (rep i32)))
(core func $make-handle (canon resource.new $handle))
(core instance $g (instantiate $guest
    (with "host" (instance (export "make-handle" (func $make-handle))))))
