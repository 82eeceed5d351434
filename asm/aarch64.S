// The context switch for AArch64, AAPCS64. This file is the one described truth: scripts/generate-asm turns it into
// include/eventer/context/aarch64.inc, and the test suite holds both to the same machine bytes.
//
// A suspended context is one number, its stack pointer. From there upwards lie, in pairs of eight bytes:
//
//     sp + 0    x19 x20     the general registers that a function must keep over a call
//     sp + 16   x21 x22
//     sp + 32   x23 x24
//     sp + 48   x25 x26
//     sp + 64   x27 x28
//     sp + 80   x29 x30     frame pointer and, signed, where to go on
//     sp + 96   d8  d9      the low halves of v8-v15 must be kept too: without them a double that lives
//     sp + 112  d10 d11     over a wait changes
//     sp + 128  d12 d13
//     sp + 144  d14 d15
//
// Not saved: fpcr (it stays with the thread, see docs/switch.md), x18 (the platform's), tpidr_el0 (a coroutine never leaves its thread).
//
// paciasp, autiasp and bti are hints: no-ops before Armv8.3 and 8.5. The return address is signed with the stack pointer at entry. A
// stack that was copied away comes back to the same addresses, so signatures in suspended frames stay valid.

#define FUNCTION(name) .text; .p2align 4; .globl name; .hidden name; .type name, %function; name:
#define END_FUNCTION(name) .size name, . - name

// void eventer_switch_context(void** save_sp /* x0 */, void* to_sp /* x1 */)
FUNCTION(eventer_switch_context)
    .cfi_startproc
    hint    #25                      // paciasp: sign x30 with sp; also a legal landing pad for calls (BTI)
    .cfi_negate_ra_state
    sub     sp, sp, #160             // one step: the stack pointer is valid at every instruction
    .cfi_def_cfa_offset 160
    stp     x19, x20, [sp, #0]
    .cfi_offset 19, -160
    .cfi_offset 20, -152
    stp     x21, x22, [sp, #16]
    .cfi_offset 21, -144
    .cfi_offset 22, -136
    stp     x23, x24, [sp, #32]
    .cfi_offset 23, -128
    .cfi_offset 24, -120
    stp     x25, x26, [sp, #48]
    .cfi_offset 25, -112
    .cfi_offset 26, -104
    stp     x27, x28, [sp, #64]
    .cfi_offset 27, -96
    .cfi_offset 28, -88
    stp     x29, x30, [sp, #80]
    .cfi_offset 29, -80
    .cfi_offset 30, -72
    stp     d8, d9, [sp, #96]
    .cfi_offset 72, -64
    .cfi_offset 73, -56
    stp     d10, d11, [sp, #112]
    .cfi_offset 74, -48
    .cfi_offset 75, -40
    stp     d12, d13, [sp, #128]
    .cfi_offset 76, -32
    .cfi_offset 77, -24
    stp     d14, d15, [sp, #144]
    .cfi_offset 78, -16
    .cfi_offset 79, -8
    mov     x9, sp
    str     x9, [x0]                 // this context is suspended now
    mov     sp, x1                   // and this one runs; its frame has the same shape
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #160
    .cfi_def_cfa_offset 0
    hint    #29                      // autiasp: the signature was made with this very stack pointer
    .cfi_negate_ra_state
    ret                              // Not `br`: a branch through a register may only land on a bti instruction in
    .cfi_endproc                     // guarded pages, and none stands after a call. `ret` may land anywhere; its
END_FUNCTION(eventer_switch_context) // prediction misses, which is the price of BTI

// The first switch to a new context arrives here, by the x30 that make_context has put (and signed) into its frame, with the function to
// call in x20 and its argument in x19. The function returns the stack pointer of the context that goes on.
FUNCTION(eventer_entry_context)
    .cfi_startproc
    .cfi_undefined 30                // the outermost frame: unwinders and debuggers stop here
    hint    #34                      // bti c
    mov     x0, x19                  // the argument
    mov     x29, xzr                 // the end of the chain of frame pointers
    mov     x30, xzr
    blr     x20
    mov     sp, x0                   // this context is over; the rest is the second half of a switch
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #160
    hint    #29                      // autiasp
    ret
    .cfi_endproc
END_FUNCTION(eventer_entry_context)

.section .note.GNU-stack, "", %progbits
