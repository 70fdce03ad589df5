// SPDX-License-Identifier: Apache-2.0
#pragma once
// All of kubepp. An operator needs nothing else.

#include "kubepp/client.h"
#include "kubepp/controller.h"
#include "kubepp/events.h"
#include "kubepp/log.h"
#include "kubepp/loop.h"
#include "kubepp/reflector.h"
#include "kubepp/stream.h"
