%% Erlang/OTP's side: its own supervisor and gen_server, used as their manuals say.
%%
%%   client ──cast boom──▶ [victim] ──error(boom)──▶ logger ──▶ file
%%      └─────call who, until another pid answers──▶ [victim, restarted by its supervisor]
%%
%% Speaks as the other side (actor.rs) does: it says what it is; then each line with a number orders so
%% many restarts, each answered by a line of nanoseconds. It ends with its input.
%% The log is the default handler with its default settings, given a file by the command line.

-module(otp_restart).
-behaviour(gen_server).

-export([main/0, start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-define(VICTIM, otp_restart_victim).

main() ->
    {ok, _} = supervisor:start_link(?MODULE, supervisor),
    [Millis] = init:get_plain_arguments(),
    Facts = [erlang:system_info(Fact) || Fact <- [otp_release, version, emu_flavor]],
    io:format("OTP ~s, erts ~s, ~s~n", Facts),
    serve(list_to_integer(Millis)).

serve(PauseMs) ->
    case io:get_line("") of
        eof ->
            halt(0);
        Order ->
            {Count, _} = string:to_integer(Order),
            Took = [restart(PauseMs) || _ <- lists:seq(1, Count)],
            %% Nothing is left to write while the other side has its turn.
            logger_std_h:filesync(default),
            io:put_chars([[integer_to_list(Nanos), $\n] || Nanos <- Took]),
            serve(PauseMs)
    end.

restart(PauseMs) ->
    timer:sleep(PauseMs),
    {ok, Before} = who(),
    Began = erlang:monotonic_time(nanosecond),
    gen_server:cast(?VICTIM, boom),
    ok = until_another_answers(Before),
    erlang:monotonic_time(nanosecond) - Began.

%% OTP has no call that waits for a name. Yielding lets the supervisor have this scheduler: without it the
%% median is several times as long, and waiting for 'DOWN' or asking whereis/1 first is no quicker.
until_another_answers(Before) ->
    case who() of
        {ok, Now} when Now =/= Before ->
            ok;
        _ ->
            erlang:yield(),
            until_another_answers(Before)
    end.

%% Fails at once while nobody has the name, and when the one who was asked dies.
who() ->
    try
        {ok, gen_server:call(?VICTIM, who)}
    catch
        exit:_ -> gone
    end.

start_link() ->
    gen_server:start_link({local, ?VICTIM}, ?MODULE, victim, []).

%% The supervisor's callback: a budget that is never spent. It counts over one second, as the other side's
%% does, so that neither keeps a long list.
init(supervisor) ->
    Flags = #{strategy => one_for_one, intensity => 1000000, period => 1},
    {ok, {Flags, [#{id => victim, start => {?MODULE, start_link, []}}]}};
init(victim) ->
    {ok, none}.

handle_call(who, _From, State) ->
    {reply, self(), State}.

handle_cast(boom, _State) ->
    error(boom).
