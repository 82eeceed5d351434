// The context switch for x86-64, System V ABI. This file is the one described truth: scripts/generate-asm turns it into
// include/eventer/context/x86_64.inc, and the test suite holds both to the same machine bytes.
//
// A suspended context is one number, its stack pointer. From there upwards lie, eight bytes each:
//
//     sp + 0   r15     the registers that the ABI lets a function keep over a call;
//     sp + 8   r14     everything else is dead at a call, so the compiler has
//     sp + 16  r13     saved what it still needs
//     sp + 24  r12
//     sp + 32  rbx
//     sp + 40  rbp     the frame pointer, so that chains of frames stay walkable
//     sp + 48  rip     where to go on
//
// Not saved: mxcsr and the x87 control word (7 ns to read; they stay with the thread, see docs/switch.md), vector registers (dead at a
// call), the direction flag (clear at every call), fs and gs (they belong to the thread, and a coroutine never leaves its thread).
//
// The stack pointer lies inside a valid stack at every instruction: a signal may arrive at any of them.

#define FUNCTION(name) .text; .p2align 4; .globl name; .hidden name; .type name, %function; name:
#define END_FUNCTION(name) .size name, . - name

// void eventer_switch_context(void** save_sp /* rdi */, void* to_sp /* rsi */)
FUNCTION(eventer_switch_context)
    .cfi_startproc
    endbr64                          // a legal target of indirect calls under CET-IBT
    pushq   %rbp                     // the frame described above, top down; rip is there already,
    .cfi_adjust_cfa_offset 8         // the call has pushed it
    .cfi_rel_offset %rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    movq    %rsp, (%rdi)             // this context is suspended now
    movq    %rsi, %rsp               // and this one runs. Its frame has the same shape, so the
    popq    %r15                     // unwinder's description stays true on the new stack
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_same_value %rbp
    popq    %rcx                     // Not `ret`: the return predictor expects the other context's caller
    .cfi_adjust_cfa_offset -8        // here and would miss each time, 9 ns. An indirect jump has its own
    .cfi_register %rip, %rcx         // predictor. notrack: the target is a return address, no endbr64
    notrack jmp *%rcx                // stands there.
    .cfi_endproc
END_FUNCTION(eventer_switch_context)

// The first switch to a new context arrives here, by the rip that make_context has put into its frame, with the function to call in
// r12 and its argument in rbx. rsp is a multiple of 16, so that the call leaves the stack as the ABI wants it at a function's start.
// The function returns the stack pointer of the context that goes on: the call and its return stay a pair for the return predictor.
FUNCTION(eventer_entry_context)
    .cfi_startproc
    .cfi_undefined %rip              // the outermost frame: unwinders and debuggers stop here
    endbr64
    movq    %rbx, %rdi               // the argument
    xorl    %ebp, %ebp               // the end of the chain of frame pointers
    callq   *%r12
    movq    %rax, %rsp               // this context is over; the rest is the second half of a switch
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbx
    popq    %rbp
    popq    %rcx
    notrack jmp *%rcx
    .cfi_endproc
END_FUNCTION(eventer_entry_context)

// The same for the inline form of the switch (include/eventer/context/inline_switch.hpp), whose suspended contexts have only rip at sp:
// above it make_context has put the function and its argument.
FUNCTION(eventer_start_context)
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    popq    %rax                     // the function
    popq    %rdi                     // the argument; rsp is a multiple of 16 now
    xorl    %ebp, %ebp
    callq   *%rax
    movq    %rax, %rsp
    popq    %rcx
    notrack jmp *%rcx
    .cfi_endproc
END_FUNCTION(eventer_start_context)

.section .note.GNU-stack, "", %progbits
