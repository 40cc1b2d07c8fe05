#!/usr/bin/env node
import '../build/cli/kiri.js';
