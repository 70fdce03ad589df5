// SPDX-License-Identifier: Apache-2.0
// The tar file of sdk/, as it was when the binary was built.
    .section .rodata
    .global dormouse_sdk_tar, dormouse_sdk_tar_end
    .balign 16
dormouse_sdk_tar:
    .incbin SDK_TAR
dormouse_sdk_tar_end:
    .byte 0
    .section .note.GNU-stack, "", @progbits
